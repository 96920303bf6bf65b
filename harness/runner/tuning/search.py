"""What tuning tries: for each method as many values, proposed by Optuna before anything trains."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.method import Method, Range

if TYPE_CHECKING:
    from harness.core.record import Edge, Trial

FACTOR = 30.0
"""How far the search of a learning rate goes below and above the declared one, where the method names no range."""

Values = dict[str, int | float]


def build_search_space(method: Method, lr: float) -> dict[str, Range]:
    """What is searched: the learning rate, and what the method declares, less options that the user gave.

    Raises UserError for a declaration that cannot be.
    """
    options = {f.name for f in dataclasses.fields(method)}
    space = {"lr": Range(lr / FACTOR, lr * FACTOR)} | dict(method.tunable)
    for name in space:
        if name != "lr" and name not in options:
            allowed = ", ".join(["lr", *sorted(options)])
            raise UserError(f"method '{method.name}': tunable names '{name}'; allowed: {allowed}")
    ranges = {name: limits for name, limits in space.items() if name not in method.options()}
    for name, value in get_declared_values(method, lr, ranges).items():
        if not ranges[name].low <= value <= ranges[name].high:
            limits = f"{ranges[name].low:g} to {ranges[name].high:g}"
            raise UserError(f"method '{method.name}': its default {name}={value:g} is outside of its range, {limits}")
    return ranges


def get_declared_values(method: Method, lr: float, space: Mapping[str, Range]) -> Values:
    """The declared values: the first trial of each method."""
    return {name: lr if name == "lr" else getattr(method, name) for name in space}


def propose(space: Mapping[str, Range], start: Values, count: int) -> list[Values]:
    """The declared values, then points of a Sobol sequence: all at once, so that they train as one batch.

    They are the same places in the range for each method, and a longer search only adds to them. Of one range these
    are its middle (the declared rate, where no other range is named), quarters, eighths: six trials of a rate lie a
    factor of 2.3 apart around the declared one. Scrambled, two of six came to lie on one another.
    """
    optuna = import_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of the sampler's interface
        study = optuna.create_study(sampler=optuna.samplers.QMCSampler(scramble=False))
    study.enqueue_trial(start)
    kinds = {name: _build_distribution(optuna, limits) for name, limits in space.items()}
    _, _corner, *suggestions = [study.ask(kinds).params for _ in range(count + 2)]  # the first is the start
    points = [{name: _round_value(value) for name, value in values.items()} for values in suggestions]
    return [start, *(values for values in points if values != start)][:count]


def import_optuna() -> Any:
    """The module, silent. Raises UserError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise UserError("--tune needs optuna: pip install 'lorasp-harness[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _build_distribution(optuna: Any, limits: Range) -> Any:
    whole = isinstance(limits.low, int) and isinstance(limits.high, int)
    kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    return kind(limits.low, limits.high, log=limits.log)


def _round_value(value: int | float) -> int | float:
    return value if isinstance(value, int) else float(f"{value:.3g}")


def find_best_trial(trials: Sequence[Trial]) -> int | None:
    """The number of the trial with the highest score, of equal ones that nearest to the declared rate; None: no score.

    The first trial has the declared rate.
    """
    scored_trials = [i for i, trial in enumerate(trials) if trial.score is not None]

    def rank(i: int) -> tuple[float, float]:
        return trials[i].score or 0.0, -abs(math.log(trials[i].values["lr"] / trials[0].values["lr"]))

    return max(scored_trials, key=rank, default=None)


def find_edges(trials: Sequence[Trial], best: int) -> dict[str, Edge]:
    """What of the best trial is the lowest or highest value tried, failed trials included: it may lie beyond."""
    edges: dict[str, Edge] = {}
    for name, value in trials[best].values.items():
        tried_values = [trial.values[name] for trial in trials]
        if value == min(tried_values):
            edges[name] = "lowest" if value < max(tried_values) else "only"
        elif value == max(tried_values):
            edges[name] = "highest"
    return edges
