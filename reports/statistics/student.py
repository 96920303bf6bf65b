"""Estimates with a standard error and degrees of freedom: intervals and tests by Student's t."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CONFIDENCE = 0.95
ROUNDING = 1e-9
"""Spread below this share of the values is rounding of a mean over tasks, not a difference between seeds."""


@dataclass(frozen=True)
class Student:
    """`value` in points; (value - truth) / `se` is read as Student's t with `df` degrees of freedom."""

    value: float
    se: float
    df: float

    @property
    def half(self) -> float:
        """Half of the two-sided 95 % interval."""
        return compute_t_quantile(self.df, CONFIDENCE) * self.se

    def compute_interval(self, level: float) -> tuple[float, float]:
        """Of the two-sided interval of another level."""
        half = compute_t_quantile(self.df, level) * self.se
        return self.value - half, self.value + half

    @property
    def low(self) -> float:
        return self.value - self.half

    @property
    def high(self) -> float:
        return self.value + self.half

    @property
    def p(self) -> float:
        """Two-sided p of no difference."""
        return 2 * compute_tail(abs(self.value) / self.se, self.df)

    def p_above(self, bound: float) -> float:
        """One-sided p of 'the truth is at most `bound`'."""
        return compute_tail((self.value - bound) / self.se, self.df)

    def p_below(self, bound: float) -> float:
        """One-sided p of 'the truth is at least `bound`'."""
        return compute_tail((bound - self.value) / self.se, self.df)


@dataclass(frozen=True)
class Estimate:
    """The mean of n values for a table or figure, which shows it even where there is no interval.

    `interval` is None where there is one value, or where all values are the same (`constant`).
    """

    mean: float
    n: int
    interval: Student | None = None
    constant: bool = False

    @property
    def half(self) -> float | None:
        """Half of the 95 % interval; 0 without spread, None where nothing is known."""
        if self.interval is None:
            return 0.0 if self.constant else None
        return self.interval.half

    @property
    def low(self) -> float | None:
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        return None if self.half is None else self.mean + self.half

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 lies outside of it."""
        return self.interval is not None and abs(self.mean) > self.interval.half


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


def compute_tail(t: float, df: float) -> float:
    """P(T > t)."""
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def estimate_mean(values: Sequence[float]) -> Student | None:
    """Mean of independent values; None of fewer than two, or where they have no spread."""
    if len(values) < 2 or has_no_spread(values):
        return None
    return Student(statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values)), len(values) - 1)


def merge_estimates(parts: Sequence[Student]) -> Student:
    """Mean of independent estimates, with Welch's and Satterthwaite's degrees of freedom."""
    variances = [(part.se / len(parts)) ** 2 for part in parts]
    # parts differ in variance, so their degrees of freedom do not add up
    df = compute_satterthwaite_df(variances, [part.df for part in parts])
    return Student(statistics.fmean(part.value for part in parts), math.sqrt(sum(variances)), df)


def compute_satterthwaite_df(variances: Sequence[float], dfs: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variance estimates."""
    return sum(variances) ** 2 / sum(v**2 / df for v, df in zip(variances, dfs, strict=True) if v > 0)


def compute_cochran_df(variances: Sequence[Any], dfs: Sequence[Any]) -> Any:
    """Degrees of freedom of a sum of two sources of unequal worth: numbers, or arrays of one shape.

    The t quantile is the mean of both sources' quantiles weighted by their variances (Cochran and Cox 1950), expressed
    as the degrees of freedom that have it. Satterthwaite's covers 92 % where few seeds meet a little noise of examples:
    where the seeds' variance comes out small by chance, it takes the sum for well known.
    """
    from scipy.special import stdtridf, stdtrit

    point = 0.5 + CONFIDENCE / 2
    weighted = sum(v * stdtrit(df, point) for v, df in zip(variances, dfs, strict=True))
    return stdtridf(point, weighted / sum(variances))
