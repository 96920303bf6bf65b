"""Tests under repeated looks: what p a look must reach, so that all looks together err in 5 % of studies at most.

    p of a look (t-test) ──> sequential p: the level at which the looks so far reject ──> Holm over the comparisons

Group-sequential test with the error-spending function of Lan and DeMets (1983, doi:10.1093/biomet/70.3.659), the one
like Pocock's: by a share t of the seeds the level alpha * ln(1 + (e - 1) t) is spent. The nominal level of each look
follows from the joint normal distribution of the estimates by the recursion of Armitage, McPherson and Rowe (1969). A
t-test is compared with the nominal level of a normal one (significance level approach, Jennison and Turnbull 2000,
section 11.5). Intervals are repeated confidence intervals (Jennison and Turnbull 1989). The smallest level that
rejects is a p-value at any time of stopping, so Holm's correction applies to it (Liu and Anderson 2008,
doi:10.1198/016214508000000986; Maurer and Bretz 2013).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from reports.statistics.student import CONFIDENCE, Student

NODES = 96
"""Points of the Gauss-Legendre quadrature of a look."""
LOWEST_LEVEL, HIGHEST_LEVEL, LEVELS = 1e-8, 0.4, 48
"""Levels for which nominal levels are tabulated; sequential p in between are interpolated on a log scale."""
FARTHEST, HALVINGS = 40.0, 60
"""The widest boundary in standard errors, and how often it is halved to find one."""


def spend(share: float) -> float:
    """The share of the level that is spent at a share of the seeds; both are 0 to 1."""
    return math.log1p((math.e - 1) * share)


def solve_boundaries(counts: Sequence[int], levels: Any) -> Any:
    """Boundaries of |z| [looks, L]: under the null hypothesis some look exceeds its own with each of `levels` [L].

    `counts`: seeds at each look, increasing; the last is the maximum.
    """
    import numpy as np
    from scipy.special import ndtr

    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    levels = np.asarray(levels, dtype=float)
    # where no look has rejected: sums of differences in units of their standard deviation, and their density [L, N]
    sums, density = np.zeros((len(levels), 1)), np.ones((len(levels), 1))
    boundaries, spent, seen = [], np.zeros_like(levels), 0
    for count in counts:
        step, share = math.sqrt(count - seen), levels * spend(count / counts[-1])
        low, high = np.zeros_like(levels), np.full_like(levels, FARTHEST)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            edge = (middle * math.sqrt(count))[:, None]
            crossing = (density * (ndtr((sums - edge) / step) + ndtr((-edge - sums) / step))).sum(axis=1)
            low, high = (
                np.where(crossing > share - spent, middle, low),
                np.where(crossing > share - spent, high, middle),
            )
        boundaries.append(low)
        following = (low * math.sqrt(count))[:, None] * nodes
        kernel = np.exp(-(((following[:, :, None] - sums[:, None, :]) / step) ** 2) / 2) / (
            step * math.sqrt(2 * math.pi)
        )
        density = np.einsum("lij,lj->li", kernel, density) * (low * math.sqrt(count))[:, None] * weights
        sums, spent, seen = following, share, count
    return np.array(boundaries)


@functools.lru_cache(maxsize=64)
def compute_nominal_levels(counts: tuple[int, ...], level: float) -> tuple[float, ...]:
    """Two-sided p that each look must not exceed for all looks together to have `level`."""
    from scipy.special import ndtr

    return tuple(2 * float(ndtr(-bound)) for bound in solve_boundaries(counts, [level])[:, 0])


@functools.lru_cache(maxsize=64)
def tabulate_levels(counts: tuple[int, ...]) -> tuple[Any, Any]:
    """Logs of levels [L], and of the nominal level at each look for each of them [looks, L]."""
    import numpy as np
    from scipy.special import ndtr

    levels = np.geomspace(LOWEST_LEVEL, HIGHEST_LEVEL, LEVELS)
    return np.log(levels), np.log(2 * ndtr(-solve_boundaries(counts, levels)))


def compute_sequential_p(counts: tuple[int, ...], look: int, p: float) -> float:
    """The smallest level at which look number `look`, from 0, rejects with its two-sided `p`.

    It is a p-value whichever look the run stops at. 1 above `HIGHEST_LEVEL`; a value below `LOWEST_LEVEL` is raised to
    that.
    """
    import numpy as np

    levels, nominal = tabulate_levels(counts)
    # a p of 0 has no logarithm
    value = math.log(max(p, 1e-300))
    # below the table np.interp gives its first level
    return 1.0 if value > nominal[look][-1] else float(np.exp(np.interp(value, nominal[look], levels)))


def compute_sequential_interval(
    counts: tuple[int, ...], look: int, estimate: Student, level: float = CONFIDENCE
) -> tuple[float, float]:
    """The repeated confidence interval of look number `look`: those of all looks together have this level."""
    return estimate.compute_interval(1 - compute_nominal_levels(counts, 1 - level)[look])
