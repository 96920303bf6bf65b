"""Means and paired differences with two-sided 95 % t-intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
ROUNDING = 1e-9
"""Spread below this share of the values is rounding of a mean over tasks, not a difference between seeds."""


@dataclass(frozen=True)
class Estimate:
    """A mean of n values; `half` is the half-width of its interval, None when n = 1; `df` of t, None for n - 1."""

    mean: float
    n: int
    half: float | None
    df: float | None = None

    @property
    def low(self) -> float | None:
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        return None if self.half is None else self.mean + self.half

    @property
    def excludes_zero(self) -> bool:
        """True when there is an interval, it has a width, and 0 lies outside of it."""
        return bool(self.half) and abs(self.mean) > (self.half or 0.0)

    @property
    def reading(self) -> str:
        """What may be said of a difference with this interval."""
        if self.half is None:
            return "one paired seed: no interval"
        if self.half == 0 and self.mean != 0:
            return "no spread over seeds: no interval"
        return "interval excludes 0" if self.excludes_zero else "not distinguishable from 0"


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and t-interval over independent values; None of no values."""
    n = len(values)
    if n == 0:
        return None
    mean = statistics.fmean(values)
    if n == 1:
        return Estimate(mean, 1, None)
    if has_no_spread(values):
        return Estimate(mean, n, 0.0)
    return Estimate(mean, n, compute_t_quantile(n - 1) * statistics.stdev(values, mean) / math.sqrt(n))


def has_no_spread(values: Sequence[float]) -> bool:
    """Whether two or more values are the same but for rounding."""
    rounding = ROUNDING * max(1.0, *map(abs, values))
    # a range R is a standard deviation of R / sqrt(2 (n - 1)) at least: mostly enough, and stdev is exact but slow
    if max(values) - min(values) > 2 * rounding * math.sqrt(2 * len(values)):
        return False
    return statistics.stdev(values) <= rounding


def compute_t_quantile(df: float, level: float = CONFIDENCE) -> float:
    """Quantile of Student's t for a two-sided interval; scipy.special imports in half the time of scipy.stats."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.5 + level / 2))
