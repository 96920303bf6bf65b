"""Simulated studies, and what automatic and fixed numbers of seeds decide in them.

A study has one comparison, or several against one baseline. Paired differences are normal (or skewed, or
heavy-tailed) with a standard deviation of 0.5 points unless a row says otherwise. A collapsed run loses 62 points (from
82 to 20), and the collapse rule of the report is taken to find each of them. Arrays are [studies, comparisons, seeds].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import betaincinv, stdtr, stdtrit

from harness.core.looks import TOLERATED_COLLAPSES, Looks
from reports.statistics.sequential import compute_nominal_levels, tabulate_levels
from reports.statistics.skewness import FACTOR, invert_transform, transform

DROP, MARGIN, ALPHA, SD = 62.0, 1.0, 0.05, 0.5
UNDECIDED, BETTER, WORSE, EQUIVALENT = 0, 1, 2, 3
Noise = Callable[[np.random.Generator, tuple[int, ...]], Any]


def draw_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Standard normal."""
    return rng.standard_normal(shape)


def draw_heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Student's t with 5 degrees of freedom, scaled to variance 1."""
    return rng.standard_t(5, shape) / np.sqrt(5 / 3)


def draw_skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Exponential, with mean 0 and variance 1: skewness 2."""
    return rng.exponential(size=shape) - 1


def draw_lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Log-normal of a standard normal, with mean 0 and variance 1: skewness 6.2."""
    return (np.exp(rng.standard_normal(shape)) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)


def draw_dips(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Normal, and one in ten falls by 10 standard deviations, which no collapse rule calls a collapse; mean 0."""
    return rng.standard_normal(shape) - 10 * (rng.random(shape) < 0.1) + 1


@dataclasses.dataclass(frozen=True)
class Scenario:
    """`stable`: true difference of runs that do not collapse, in points; `rates` of collapses: method, other."""

    name: str
    stable: float
    sd: float = SD
    rates: tuple[float, float] = (0.0, 0.0)
    noise: Noise = draw_normal

    @property
    def mean(self) -> float:
        """The true difference of all runs."""
        return self.stable - DROP * (self.rates[0] - self.rates[1])


@dataclasses.dataclass(frozen=True)
class Studies:
    """`differences` [S, C, N] of all runs; `collapsed` [S, C, N, 2]: whether the method, the other collapsed."""

    differences: Any
    collapsed: Any


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Per study and comparison [S, C]: decision, seeds, the 95 % interval where it stopped, whether all held `truth`.

    `saw_collapse`: whether a pair had a collapsed run by then. `bounds` [S, C]: the upper bound of the method's rate.
    """

    decisions: Any
    seeds: Any
    low: Any
    high: Any
    always: Any
    saw_collapse: Any
    bounds: Any


def draw_studies(scenario: Scenario, studies: int, seeds: int, rng: np.random.Generator) -> Studies:
    """Studies of one comparison."""
    shape = (studies, 1, seeds)
    collapsed = rng.random((*shape, 2)) < np.array(scenario.rates)
    differences = scenario.stable + scenario.sd * scenario.noise(rng, shape)
    return Studies(differences - DROP * collapsed[..., 0] + DROP * collapsed[..., 1], collapsed)


def draw_shared(stable: Any, rates: Any, studies: int, seeds: int, rng: np.random.Generator) -> Studies:
    """Studies of several methods against one baseline, whose runs their differences share; it never collapses."""
    scores = SD / np.sqrt(2) * rng.standard_normal((studies, len(stable) + 1, seeds))
    collapsed = np.zeros((studies, len(stable), seeds, 2), dtype=bool)
    collapsed[..., 0] = rng.random((studies, len(stable), seeds)) < np.array(rates)[:, None]
    differences = np.array(stable)[:, None] + scores[:, 1:] - scores[:, :1]
    return Studies(differences - DROP * collapsed[..., 0], collapsed)


@dataclasses.dataclass(frozen=True)
class Moments:
    """Of the values that are used, [S, C] each; NaN of fewer than three. `skewness`: as often as it counts."""

    number: Any
    mean: Any
    sd: Any
    skewness: Any

    def compute_p_above(self, bound: float) -> Any:
        """One-sided p of 'the truth is at most `bound`': the larger one of Student's and Hall's (see skewness)."""
        return 1 - self._compute_p(bound, np.minimum)

    def compute_p_below(self, bound: float) -> Any:
        """One-sided p of 'the truth is at least `bound`'."""
        return self._compute_p(bound, np.maximum)

    def compute_interval(self, nominal: float) -> tuple[Any, Any]:
        """Lower and upper ends for a nominal two-sided level."""
        root = np.sqrt(np.maximum(self.number, 1))
        quantile = stdtrit(np.maximum(self.number - 1, 1), 1 - nominal / 2) / root
        with np.errstate(invalid="ignore"):
            below, above = (invert_transform(q, self.skewness, self.number) for q in (quantile, -quantile))
        return self.mean - self.sd * np.maximum(quantile, below), self.mean - self.sd * np.minimum(-quantile, above)

    def _compute_p(self, bound: float, choose: Any) -> Any:
        with np.errstate(invalid="ignore", divide="ignore"):
            w = (self.mean - bound) / self.sd
        root, df = np.sqrt(self.number), np.maximum(self.number - 1, 1)
        return choose(stdtr(df, root * w), stdtr(df, root * transform(w, self.skewness, self.number)))


def compute_moments(values: Any, use: Any, count: int) -> Moments:
    """The moments of the first `count` values that are used."""
    used = use[..., :count]
    number = used.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(used, values[..., :count], 0).sum(axis=-1) / number
        offsets = np.where(used, values[..., :count] - mean[..., None], 0)
        second, third = (offsets**2).sum(axis=-1) / number, (offsets**3).sum(axis=-1) / number
        skewness = np.sqrt(number * (number - 1)) / (number - 2) * third / second**1.5
        sd = np.where(number > 2, np.sqrt(second * number / (number - 1)), np.nan)
    return Moments(number, mean, sd, FACTOR * skewness)


def adjust_holm(p: Any) -> Any:
    """Holm's adjusted p over comparisons [S, C]."""
    order = np.argsort(p, axis=1)
    factors = np.arange(p.shape[1], 0, -1)
    adjusted = np.minimum(1, np.maximum.accumulate(np.take_along_axis(p, order, 1) * factors, axis=1))
    result = np.empty_like(p)
    np.put_along_axis(result, order, adjusted, 1)
    return result


def convert_to_sequential(counts: tuple[int, ...], number: int, p: Any) -> Any:
    """`compute_sequential_p` of many p at once."""
    levels, nominal = tabulate_levels(counts)
    logs = np.log(np.maximum(p, 1e-300))
    converted = np.exp(np.interp(logs, nominal[number], levels))
    return np.where(logs > nominal[number][-1], 1.0, converted)


def run_auto(studies: Studies, looks: Looks, truth: Any = 0.0) -> Outcome:
    """What automatic runs decide; `truth` is the difference that the intervals should cover."""
    counts, shape = looks.counts, studies.differences.shape[:2]
    either = studies.collapsed.any(axis=-1)
    everything = np.ones_like(either)
    decisions, seeds, saw = np.zeros(shape, int), np.full(shape, looks.most), np.zeros(shape, bool)
    low, high, bounds = (np.full(shape, np.nan) for _ in range(3))
    always, p, equal_p = np.ones(shape, bool), np.ones(shape), np.ones(shape)
    for number, count in enumerate(counts):
        is_open = decisions == UNDECIDED
        moments = compute_moments(studies.differences, everything, count)
        bottom, top = compute_moments(studies.differences, ~either, count).compute_interval(
            compute_nominal_levels(counts, ALPHA)[number]
        )
        always &= ~((truth < bottom) | (truth > top))
        within = np.maximum(moments.compute_p_above(-MARGIN), moments.compute_p_below(MARGIN))
        two_sided = np.minimum(1, 2 * np.minimum(moments.compute_p_above(0), moments.compute_p_below(0)))
        has_collapse = either[..., :count].any(axis=-1)
        guard = np.where(has_collapse, 1.0, (1 - TOLERATED_COLLAPSES) ** count)
        p = np.where(is_open, convert_to_sequential(counts, number, two_sided), p)
        within = convert_to_sequential(counts, number, 2 * within) / 2
        equal_p = np.where(is_open, np.maximum(within, guard), equal_p)
        differs = is_open & (adjust_holm(p) < ALPHA)
        equals = is_open & ~differs & (adjust_holm(equal_p) < ALPHA)
        decisions = np.where(
            differs, np.where(moments.mean > 0, BETTER, WORSE), np.where(equals, EQUIVALENT, decisions)
        )
        stops = differs | equals | (is_open & (count == looks.most))
        seeds, saw = np.where(stops, count, seeds), np.where(stops, has_collapse, saw)
        low, high = np.where(stops, bottom, low), np.where(stops, top, high)
        losses = studies.collapsed[..., :count, 0].sum(axis=-1)
        upper = np.where(losses < count, betaincinv(losses + 1, np.maximum(count - losses, 0.5), 0.95), 1.0)
        bounds = np.where(stops, upper, bounds)
    return Outcome(decisions, seeds, low, high, always, saw, bounds)


def run_fixed(studies: Studies, count: int, *, guard: bool) -> Any:
    """Decisions [S, C] of a fixed number of seeds by t-tests, Holm over comparisons.

    Equivalence needs that no run collapsed, and with `guard` enough seeds without a collapse.
    """
    differences = studies.differences[..., :count]
    mean, error = differences.mean(axis=-1), differences.std(axis=-1, ddof=1) / np.sqrt(count)
    p = adjust_holm(2 * stdtr(count - 1, -np.abs(mean) / error))
    within = np.maximum(stdtr(count - 1, -(mean + MARGIN) / error), stdtr(count - 1, (mean - MARGIN) / error))
    within = np.maximum(within, (1 - TOLERATED_COLLAPSES) ** count if guard else 0.0)
    equal_p = adjust_holm(np.where(studies.collapsed[..., :count, :].any(axis=(-1, -2)), 1.0, within))
    return np.where(p < ALPHA, np.where(mean > 0, BETTER, WORSE), np.where(equal_p < ALPHA, EQUIVALENT, UNDECIDED))
