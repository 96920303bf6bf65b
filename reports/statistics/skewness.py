"""A mean of skewed values: Student's t and Hall's transformation of it, of which both must reject.

Where values are skewed, few of them show a mean that is off with a spread that is too small, so that Student's t errs
too often on one side. Hall (1992, doi:10.1111/j.2517-6161.1992.tb01876.x) removes the skewness by a monotone cubic
function of the t statistic; with w = (mean - bound) / sd of n values of skewness g

    q = w + g w² / 3 + g² w³ / 27 + g / (6 n)        sqrt(n) q is read as Student's t

The sample skewness of few values is too small: 0.8 of 5 and 1.2 of 10 values of an exponential distribution, whose
skewness is 2. So it counts `FACTOR` times. A claim needs both tests, so it is never bolder than Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports.statistics.student import Student, compute_t_quantile, compute_tail, estimate_mean

FACTOR = 2.0
"""With it 5 % of studies of an exponential distribution err; scripts/auto_seeds simulates them."""


@dataclass(frozen=True)
class SkewedMean(Student):
    """A mean of n = df + 1 independent values; `skewness` is the sample skewness, as often as it counts.

    Tests and intervals are those of Student's t or of Hall's transformation, whichever claims less.
    """

    skewness: float = 0.0

    def compute_interval(self, level: float) -> tuple[float, float]:
        """All bounds that not both tests reject."""
        quantile, root = compute_t_quantile(self.df, level), math.sqrt(self.df + 1)
        sd = self.se * root
        ends = [sd * float(invert_transform(sign * quantile / root, self.skewness, self.df + 1)) for sign in (-1, 1)]
        half = quantile * self.se
        return min(self.value - half, self.value - ends[1]), max(self.value + half, self.value - ends[0])

    @property
    def low(self) -> float:
        return self.compute_interval(0.95)[0]

    @property
    def high(self) -> float:
        return self.compute_interval(0.95)[1]

    @property
    def p(self) -> float:
        """Two-sided p of no difference."""
        return min(1.0, 2 * min(self.p_above(0.0), self.p_below(0.0)))

    def p_above(self, bound: float) -> float:
        """One-sided p of 'the truth is at most `bound`'."""
        return max(compute_tail(t, self.df) for t in self._compute_t(bound))

    def p_below(self, bound: float) -> float:
        """One-sided p of 'the truth is at least `bound`'."""
        return max(compute_tail(-t, self.df) for t in self._compute_t(bound))

    def _compute_t(self, bound: float) -> tuple[float, float]:
        n = self.df + 1
        w = (self.value - bound) / (self.se * math.sqrt(n))
        return math.sqrt(n) * w, math.sqrt(n) * float(transform(w, self.skewness, n))


def transform(w: Any, skewness: Any, n: Any) -> Any:
    """Hall's function of (mean - bound) / sd; numbers, or arrays of one shape."""
    return w + skewness * w**2 / 3 + skewness**2 * w**3 / 27 + skewness / (6 * n)


def invert_transform(q: Any, skewness: Any, n: Any) -> Any:
    """The w of which `transform` is q; numbers, or arrays of one shape."""
    import numpy as np

    # without skewness the function is the identity, and its inverse a quotient of zeros
    safe = np.where(np.abs(skewness) < 1e-9, 1e-9, skewness)
    return 3 / safe * (np.cbrt(1 + safe * (q - safe / (6 * n))) - 1)


def compute_skewness(values: Sequence[float]) -> float:
    """The sample skewness, corrected for bias as far as that is possible without knowing the distribution (G1)."""
    n = len(values)
    mean = math.fsum(values) / n
    second, third = (math.fsum((value - mean) ** power for value in values) / n for power in (2, 3))
    return math.sqrt(n * (n - 1)) / (n - 2) * third / math.sqrt(second) ** 3


def estimate_skewed_mean(values: Sequence[float]) -> SkewedMean | None:
    """Mean of three or more independent values; None of fewer, or where they have no spread."""
    estimate = estimate_mean(values)
    if estimate is None or len(values) < 3:
        return None
    return SkewedMean(estimate.value, estimate.se, estimate.df, FACTOR * compute_skewness(values))
