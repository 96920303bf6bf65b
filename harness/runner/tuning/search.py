"""The search of tuning: Optuna proposes equally many points for each method before anything trains."""

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
"""The search range of a learning rate reaches from default / FACTOR to default * FACTOR if the method names none."""

Values = dict[str, int | float]
"""Option -> value; `lr` is the learning rate."""


def build_search_space(method: Method, lr: float) -> dict[str, Range]:
    """Ranges of the learning rate and of the options that the method declares tunable, without those the user gave.

    Raises UserError for a declared option that the method does not have or whose default is outside of its range.
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
    """The method's default values and its learning rate `lr`: the first trial."""
    return {name: lr if name == "lr" else getattr(method, name) for name in space}


def propose(space: Mapping[str, Range], start: Values, count: int) -> list[Values]:
    """`count` points: the declared values, then points of a Sobol sequence.

    All points are proposed before any trains, so that they train as one batch. Each method gets the same places in its
    ranges, and a longer search only adds points. In one dimension they are the middle of the range (the declared rate,
    unless the method names a range), quarters and eighths: six trials of a rate are a factor of 2.3 apart.
    """
    optuna = import_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # about the sampler's interface
        # not scrambled: scrambling put two of six points at the same place
        study = optuna.create_study(sampler=optuna.samplers.QMCSampler(scramble=False))
    study.enqueue_trial(start)
    kinds = {name: _build_distribution(optuna, limits) for name, limits in space.items()}
    # the first is the enqueued start, the second the corner of all ranges, where the sequence begins
    _, _corner, *suggestions = [study.ask(kinds).params for _ in range(count + 2)]
    points = [_round_values(values) for values in suggestions]
    return [start, *(values for values in points if values != start)][:count]


def import_optuna() -> Any:
    """Optuna with its log messages off. Raises UserError if it is not installed."""
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


def _round_values(values: Values) -> Values:
    """Values with three significant digits, as a user would write them; integers unchanged."""
    return {name: v if isinstance(v, int) else float(f"{v:.3g}") for name, v in values.items()}


def find_best_trial(trials: Sequence[Trial]) -> int | None:
    """The index of the trial with the highest score; None if no trial has a score.

    Of trials with equal scores it is the one whose rate is nearest to the declared rate, which the first trial has.
    """
    scored_trials = [i for i, trial in enumerate(trials) if trial.score is not None]

    def rank(i: int) -> tuple[float, float]:
        return trials[i].score or 0.0, -abs(math.log(trials[i].values["lr"] / trials[0].values["lr"]))

    return max(scored_trials, key=rank, default=None)


def find_edges(trials: Sequence[Trial], best: int) -> dict[str, Edge]:
    """Values of the best trial at the edge of the values tried, failed ones included: a better value may be beyond."""
    edges: dict[str, Edge] = {}
    for name, value in trials[best].values.items():
        tried_values = [trial.values[name] for trial in trials]
        if value == min(tried_values):
            edges[name] = "lowest" if value < max(tried_values) else "only"
        elif value == max(tried_values):
            edges[name] = "highest"
    return edges
