"""Two shares of right answers without knowing which ones: the tests for two independent samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.statistics.power import ALPHA, POWER


@dataclass(frozen=True)
class ShareDifference:
    """Share of the first less that of the second, in points, with its 95 % interval (Newcombe) and two-sided p."""

    points: float
    low: float
    high: float
    p: float


def compare_shares(right: int, other: int, questions: int) -> ShareDifference:
    """`right` of `questions` against `other` of as many, as two independent samples (pooled z-test).

    Answers to the same questions agree more often than independent ones, so this test is conservative for them, as far
    as the same questions are hard for both.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

    low, high = confint_proportions_2indep(right, questions, other, questions, method="newcomb")
    # all right or all wrong on both sides: no variance, and no difference
    is_degenerate = right == other and right in (0, questions)
    p = 1.0 if is_degenerate else float(proportions_ztest([right, other], [questions, questions])[1])
    return ShareDifference(100 * (right - other) / questions, 100 * float(low), 100 * float(high), p)


def compute_detectable_points(share: float, questions: int) -> float:
    """The difference to a share that the test finds with 80 % power, in points, by its normal approximation."""
    from scipy.special import ndtri

    ratio = float(ndtri(1 - ALPHA / 2) + ndtri(POWER))
    return 100 * ratio * math.sqrt(2 * share * (1 - share) / questions)
