"""Equivalence and non-inferiority at a margin that was named before the run."""

from __future__ import annotations

from reports.statistics.student import Student

EQUIVALENCE_ALPHA = 0.05
"""Two one-sided tests at 5 % each: the 90 % interval lies within the margin (Schuirmann 1987)."""
NON_INFERIORITY_ALPHA = 0.025
"""One-sided, so that it agrees with the 95 % interval that is shown: its lower end lies above minus the margin."""


def compute_equivalence_p(estimate: Student, margin: float) -> float:
    """p of 'the difference is at least the margin in one direction' (TOST): the larger of the two one-sided p."""
    return max(estimate.p_above(-margin), estimate.p_below(margin))


def compute_non_inferiority_p(estimate: Student, margin: float) -> float:
    """p of 'the method is worse by the margin or more'."""
    return estimate.p_above(-margin)
