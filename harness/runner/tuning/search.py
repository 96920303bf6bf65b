"""The search of tuning: equally many points of a Sobol sequence for each method, all chosen before anything trains."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.method import Method, Range

if TYPE_CHECKING:
    from harness.core.tuned import Edge, Trial

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
    from scipy.stats.qmc import Sobol

    # not scrambled: scrambling put two of six points at the same place. A power of two is what the sequence is made for
    places = Sobol(len(space), scramble=False).random_base2((count + 1).bit_length())
    # the sequence begins with the corner of all ranges, which is left out
    suggestions = [dict(zip(space, map(_scale, point, space.values()), strict=True)) for point in places[1 : count + 1]]
    points = [_round_values(values) for values in suggestions]
    return [start, *(values for values in points if values != start)][:count]


def _scale(place: float, limits: Range) -> int | float:
    """The value at `place` of a range, from 0 to 1."""
    whole = isinstance(limits.low, int) and isinstance(limits.high, int)
    # each whole number gets an equal share of the range, the first and the last too
    margin = 0.5 if whole else 0.0
    low, high = limits.low - margin, limits.high + margin
    if limits.log:
        value = math.exp(math.log(low) + float(place) * (math.log(high) - math.log(low)))
    else:
        value = low + float(place) * (high - low)
    return min(max(math.floor(value + 0.5), limits.low), limits.high) if whole else value


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
