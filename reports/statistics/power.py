"""What a number of paired seeds can show: minimum detectable difference and seeds needed (power 0.8, alpha 0.05).

Both rest on the standard deviation between seeds, which few seeds know badly, so each has a range: what the 95 %
interval of that standard deviation (chi-square) makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from reports.statistics.student import Student, compute_cochran_df

POWER, ALPHA = 0.8, 0.05
MAX_SEEDS = 1000
MAX_RATIO = 100.0
"""More standard errors than any test here needs: 1 degree of freedom takes 16."""


@dataclass(frozen=True)
class Noise:
    """Where the error of a mean paired difference comes from.

    `seed_variance` is that of one pair and shrinks with the number of seeds; `floor` (points squared) is the part of
    the examples, which no further seed lowers, with its degrees of freedom.
    """

    seed_variance: float
    floor: float = 0.0
    floor_df: float = math.inf


def compute_detectable(se: Any, df: Any) -> Any:
    """The true difference that a two-sided t-test of this standard error finds with 80 % power, in the unit of `se`.

    Numbers, or arrays of one shape.
    """
    import numpy as np
    from scipy.optimize import elementwise

    def miss(ratio: Any, free: Any) -> Any:
        return _compute_t_power(ratio, free) - POWER

    # Not statsmodels' solve_power: below 2 degrees of freedom its two-sided power is NaN near 80 %, so it ends 1 % off,
    # and it solves one number at a time.
    return elementwise.find_root(miss, (0.0, MAX_RATIO), args=(np.asarray(df, dtype=float),)).x * se


def count_seeds_needed(effect: float, noise: Noise) -> int | None:
    """The fewest paired seeds that find `effect` with 80 % power; None where 1,000 do not."""
    return _count_all_seeds_needed([effect], [noise])[0]


def _count_all_seeds_needed(effects: Sequence[float], noises: Sequence[Noise]) -> list[int | None]:
    """`count_seeds_needed` of each effect: power costs about the same for a thousand of them as for one."""
    import numpy as np

    sizes = np.abs(np.asarray(effects, dtype=float))
    parts = np.array([(n.seed_variance, n.floor, n.floor_df) for n in noises], dtype=float).reshape(-1, 3).T
    # Power grows with the seeds, so the fewest are found by bisection: `most` are enough, `few` are not.
    few, most = np.ones(len(sizes), dtype=int), np.full(len(sizes), MAX_SEEDS)
    can_reach = compute_power(sizes, Noise(*parts), most) >= POWER
    while np.any(most - few > 1):
        middle = np.maximum(2, (few + most) // 2)
        is_enough = compute_power(sizes, Noise(*parts), middle) >= POWER
        few, most = np.where(is_enough, few, middle), np.where(is_enough, middle, most)
    return [int(count) if reached else None for count, reached in zip(most, can_reach, strict=True)]


@dataclass(frozen=True)
class DetectableRange:
    """An estimate with the two ends of its 95 % interval; None: more than `MAX_SEEDS` seeds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SeedRange:
    """Seeds needed, with the two ends of its 95 % interval; None: more than `MAX_SEEDS`."""

    value: int | None
    low: int | None
    high: int | None

    def __str__(self) -> str:
        if self.low is None:
            return f"more than {MAX_SEEDS:,}"
        high = f"more than {MAX_SEEDS:,}" if self.high is None else f"{self.high:,}"
        value = f"more than {MAX_SEEDS:,}" if self.value is None else f"{self.value:,}"
        return value if value == high and self.low == self.value else f"{value} (95 % interval {self.low:,} to {high})"


def compute_sd_factors(df: float) -> tuple[float, float]:
    """The 95 % interval of a standard deviation of normal values over its estimate with `df` degrees of freedom."""
    from scipy.special import chdtri

    # chdtri takes the upper tail.
    return math.sqrt(df / float(chdtri(df, 0.025))), math.sqrt(df / float(chdtri(df, 0.975)))


@dataclass(frozen=True)
class PowerRequest:
    """A mean paired difference (standard error, degrees of freedom, noise, those of the seeds) and an `effect` to find.

    An effect of 0 names none.
    """

    se: float
    df: float
    noise: Noise
    seeds_df: float
    effect: float = 0.0


def compute_power_ranges(requests: Sequence[PowerRequest]) -> list[tuple[DetectableRange, SeedRange | None]]:
    """For each the minimum detectable difference, and the seeds needed to find its effect, if it names one.

    Both with what the interval of the standard deviation between seeds makes of them.
    """
    import numpy as np

    if not requests:
        return []
    factors = [compute_sd_factors(one.seeds_df) for one in requests]
    # [3, requests]: the standard deviation as it is seen, and the two ends of its interval
    scales = np.array([(1.0, *pair) for pair in factors]).T
    se, df, seed_part, floor, floor_df, seeds_df = np.array(
        [(r.se, r.df, max(0.0, r.se**2 - r.noise.floor), r.noise.floor, r.noise.floor_df, r.seeds_df) for r in requests]
    ).T
    # the part of the examples is known from many rows, so only that of the seeds has a range
    parts = [seed_part * scales[1:] ** 2, np.broadcast_to(floor, (2, len(requests)))]
    limits = compute_detectable(np.sqrt(sum(parts)), compute_cochran_df(parts, [seeds_df, floor_df]))
    values = compute_detectable(se, df)
    needed = _compute_seed_ranges(requests, scales)
    return [
        (DetectableRange(float(value), min(float(value), float(low)), max(float(value), float(high))), seeds)
        for value, low, high, seeds in zip(values, *limits, needed, strict=True)
    ]


def _compute_seed_ranges(requests: Sequence[PowerRequest], scales: Any) -> list[SeedRange | None]:
    """The seeds needed for the effect of each, None without one; `scales` [3, requests] of the standard deviation."""
    named = [i for i, one in enumerate(requests) if one.effect]
    effects, noises = [], []
    for row in scales:
        for i in named:
            noise = requests[i].noise
            noises.append(replace(noise, seed_variance=noise.seed_variance * float(row[i]) ** 2))
            effects.append(requests[i].effect)
    counts = _count_all_seeds_needed(effects, noises)
    ranges: list[SeedRange | None] = [None] * len(requests)
    for place, i in enumerate(named):
        ranges[i] = SeedRange(*counts[place :: len(named)])
    return ranges


def describe_power(
    found: DetectableRange | None, effect: float | None, seeds: SeedRange | None, unit: str = "points"
) -> str:
    """'minimum detectable difference (80 % power) 6.5 points (4.5 to 11.9); seeds needed for 1.0 points: ...'."""
    if found is None:
        return ""
    text = (
        f"minimum detectable difference (80 % power) {format_number(found.value)} {unit} (95 % interval "
        f"{format_ends(found)})"
    )
    return f"{text}; seeds needed for {format_number(effect)} {unit}: {seeds}" if effect and seeds else text


def format_ends(found: DetectableRange) -> str:
    return f"{format_number(found.low)} to {format_number(found.high)}"


def format_number(value: float) -> str:
    """One decimal place, or two figures below 1; never with an exponent."""
    if abs(value) >= 0.95:
        return f"{value:.1f}"
    return f"{value:.{min(6, 1 - math.floor(math.log10(abs(value))))}f}" if abs(value) > 1e-6 else "0"


def describe_reach(estimate: Student, effect: float, unit: str = "points") -> str:
    """What so many seeds can detect, and the seeds needed to find `effect` (0: none is named)."""
    return describe_reaches([estimate], [effect], unit)[0]


def describe_reaches(estimates: Sequence[Student], effects: Sequence[float], unit: str = "points") -> list[str]:
    """`describe_reach` of each estimate with its effect."""
    requests = []
    for estimate, effect in zip(estimates, effects, strict=True):
        noise = Noise(estimate.se**2 * (estimate.df + 1))
        requests.append(PowerRequest(estimate.se, estimate.df, noise, estimate.df, effect))
    ranges = compute_power_ranges(requests)
    return [
        describe_power(detectable, effect, seeds, unit)
        for (detectable, seeds), effect in zip(ranges, effects, strict=True)
    ]


def compute_power(effect: Any, noise: Noise, counts: Any) -> Any:
    """Power of the two-sided t-test at a number of paired seeds, or at each of several [n].

    The effect and the parts of the noise may be arrays of that shape.
    """
    import numpy as np

    seed_part = noise.seed_variance / counts
    df = compute_cochran_df([seed_part, noise.floor], [counts - 1, noise.floor_df])
    return _compute_t_power(effect / np.sqrt(seed_part + noise.floor), df)


def _compute_t_power(ratio: Any, df: Any) -> Any:
    """Power of the two-sided t-test of a true difference that is `ratio` standard errors; numbers or arrays."""
    import numpy as np
    from statsmodels.stats.power import ttest_power

    # With one observation, statsmodels' noncentrality (effect times root of observations) is the ratio itself.
    right, wrong = (ttest_power(ratio, 1, ALPHA / 2, df=df, alternative=sign) for sign in ("larger", "smaller"))
    # Far out the noncentral t is NaN, in each tail by itself: the right sign is certain there, the wrong impossible.
    return np.nan_to_num(right, nan=1.0) + np.nan_to_num(wrong, nan=0.0)
