"""What a number of paired seeds can show: minimum detectable difference and seeds needed (power 0.8, alpha 0.05).

Both rest on the standard deviation between seeds, which few seeds know badly, so each has a range: what the 95 %
interval of that standard deviation (chi-square) makes of it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

from reports.statistics.student import Student, compute_cochran_df

POWER, ALPHA = 0.8, 0.05
MAX_SEEDS, COARSE = 1000, 32
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


def compute_detectable(se: float, df: float) -> float:
    """The true difference that a two-sided t-test of this standard error finds with 80 % power, in the unit of `se`."""
    return _solve_detectable_ratio(df) * se


@functools.lru_cache(maxsize=4096)  # a report asks for the same few degrees of freedom many times
def _solve_detectable_ratio(df: float) -> float:
    """The minimum detectable difference over its standard error."""
    from scipy.optimize import brentq

    # Not statsmodels' solve_power: below 2 degrees of freedom its two-sided power is NaN near 80 %, so it ends 1 % off.
    return float(brentq(lambda ratio: float(_compute_t_power(ratio, df)) - POWER, 0.0, MAX_RATIO, xtol=1e-12))


def count_seeds_needed(effect: float, noise: Noise) -> int | None:
    """The fewest paired seeds that find `effect` with 80 % power; None where 1,000 do not."""
    import numpy as np

    # statsmodels solves for a number of observations without a floor only, and gives no whole number. Power grows with
    # the seeds, and that of many numbers is computed in the time of one: first every 32nd, then those in between.
    coarse = np.append(np.arange(2, MAX_SEEDS, COARSE), MAX_SEEDS)
    enough = np.flatnonzero(compute_power(abs(effect), noise, coarse) >= POWER)
    if not len(enough):
        return None
    last = int(coarse[enough[0]])
    fine = np.arange(max(2, last - COARSE), last + 1)
    return int(fine[np.flatnonzero(compute_power(abs(effect), noise, fine) >= POWER)[0]])


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


def compute_detectable_range(se: float, df: float, noise: Noise, seeds_df: float) -> DetectableRange:
    """The minimum detectable difference, and what the interval of the standard deviation between seeds makes of it."""
    # the part of the examples is known from many rows, so only that of the seeds has a range
    value, limits = compute_detectable(se, df), []
    for factor in compute_sd_factors(seeds_df):
        parts = [max(0.0, se**2 - noise.floor) * factor**2, noise.floor]
        limits.append(
            compute_detectable(math.sqrt(sum(parts)), float(compute_cochran_df(parts, [seeds_df, noise.floor_df])))
        )
    return DetectableRange(value, min(value, limits[0]), max(value, limits[1]))


def compute_seed_range(effect: float, noise: Noise, seeds_df: float) -> SeedRange:
    """Seeds needed, and what the interval of the standard deviation between seeds makes of it."""
    scaled = [Noise(noise.seed_variance * f**2, noise.floor, noise.floor_df) for f in compute_sd_factors(seeds_df)]
    low, high = (count_seeds_needed(effect, scaled_noise) for scaled_noise in scaled)
    return SeedRange(count_seeds_needed(effect, noise), low, high)


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
    noise = Noise(estimate.se**2 * (estimate.df + 1))
    detectable = compute_detectable_range(estimate.se, estimate.df, noise, estimate.df)
    seeds = compute_seed_range(effect, noise, estimate.df) if effect else None
    return describe_power(detectable, effect, seeds, unit)


def compute_power(effect: float, noise: Noise, counts: Any) -> Any:
    """Power of the two-sided t-test at a number of paired seeds, or at each of several [n]."""
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
