"""Two shares as independent samples, against scipy and closed forms."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from reports.statistics.proportions import compare_shares, compute_detectable_points


@pytest.mark.parametrize(("right", "other", "questions"), [(694, 631, 1319), (3, 9, 40), (0, 5, 25)])
def test_p_is_that_of_the_chi_squared_test_of_the_table(right: int, other: int, questions: int) -> None:
    table = [[right, questions - right], [other, questions - other]]
    expected = stats.chi2_contingency(table, correction=False)
    assert compare_shares(right, other, questions).p == pytest.approx(expected.pvalue, rel=1e-9)


def wilson(right: int, questions: int) -> tuple[float, float]:
    interval = stats.binomtest(right, questions).proportion_ci(method="wilson")
    return interval.low, interval.high


def test_interval_is_newcombes_from_two_wilson_intervals() -> None:
    right, other, n = 694, 631, 1319
    (low, high), (other_low, other_high) = wilson(right, n), wilson(other, n)
    a, b = right / n, other / n
    difference = compare_shares(right, other, n)
    assert difference.points == pytest.approx(100 * (a - b))
    assert difference.low == pytest.approx(100 * (a - b - math.hypot(a - low, other_high - b)))
    assert difference.high == pytest.approx(100 * (a - b + math.hypot(high - a, b - other_low)))


@pytest.mark.parametrize("right", [0, 30])
def test_the_same_extreme_share_is_no_difference(right: int) -> None:
    difference = compare_shares(right, right, 30)
    assert (difference.points, difference.p) == (0, 1)
    assert difference.low < 0 < difference.high


def test_detectable_difference_is_found_with_80_percent_power() -> None:
    share, n = 0.5, 1000
    shift = compute_detectable_points(share, n) / 100
    # the normal approximation with the variance of the share
    error = math.sqrt(2 * share * (1 - share) / n)
    power = stats.norm.sf(stats.norm.isf(0.025) - shift / error)
    assert power == pytest.approx(0.8, abs=1e-9)
