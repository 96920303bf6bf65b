"""Hall's test of a skewed mean beside Student's t: against numpy's roots of its cubic, scipy's skewness and draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports.statistics.skewness import FACTOR, compute_skewness, estimate_skewed_mean
from reports.statistics.student import estimate_mean


def find_hall_interval(values: Any, skewness: float, level: float) -> tuple[float, float]:
    """The interval of Hall (1992, transformation 3): the real root of the cubic for each quantile of Student's t."""
    n, ends = len(values), []
    for quantile in stats.t.ppf([0.5 + level / 2, 0.5 - level / 2], n - 1):
        cubic = [skewness**2 / 27, skewness / 3, 1.0, skewness / (6 * n) - quantile / np.sqrt(n)]
        (w,) = (root.real for root in np.roots(cubic) if abs(root.imag) < 1e-6)
        ends.append(values.mean() - values.std(ddof=1) * w)
    return ends[0], ends[1]


@pytest.fixture(params=[3, 5, 20, 100])
def values(request: pytest.FixtureRequest) -> Any:
    return np.random.default_rng(request.param).exponential(size=request.param) - 1


def test_skewness_is_scipys(values: Any) -> None:
    assert compute_skewness(list(values)) == pytest.approx(stats.skew(values, bias=False))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_the_interval_is_the_union_of_both(values: Any, sign: int, level: float) -> None:
    values = sign * values
    made = estimate_skewed_mean(list(values))
    student = stats.t.interval(level, len(values) - 1, values.mean(), stats.sem(values))
    hall = find_hall_interval(values, FACTOR * stats.skew(values, bias=False), level)
    assert made is not None
    assert made.compute_interval(level) == pytest.approx((min(student[0], hall[0]), max(student[1], hall[1])))


def test_tests_and_intervals_agree_and_never_claim_more_than_student(values: Any) -> None:
    made, student = estimate_skewed_mean(list(values)), estimate_mean(list(values))
    assert made is not None and student is not None
    low, high = made.compute_interval(0.9)
    assert (made.p_above(low), made.p_below(high)) == (pytest.approx(0.05), pytest.approx(0.05))
    for bound in (-1.0, 0.0, 0.5):
        assert made.p_above(bound) >= student.p_above(bound) and made.p_below(bound) >= student.p_below(bound)
    assert made.p >= student.p - 1e-12 and made.low <= student.low and made.high >= student.high


def test_without_spread_or_with_two_values_there_is_none() -> None:
    assert estimate_skewed_mean([1.0, 2.0]) is None and estimate_skewed_mean([1.0] * 4) is None


def test_intervals_of_skewed_values_cover_where_students_do_not() -> None:
    rng = np.random.default_rng(0)
    covers = {"both": 0, "student": 0}
    for _ in range(1000):
        draw = list(rng.exponential(size=10))
        for name, made in (("both", estimate_skewed_mean(draw)), ("student", estimate_mean(draw))):
            assert made is not None
            covers[name] += made.low <= 1.0 <= made.high
    assert covers["student"] < 915 and covers["both"] > 935


def test_symmetric_values_have_students_test() -> None:
    draw = [-3.0, -1.0, 0.5, 2.0, 4.0, 3.0, -2.0, 0.0, 1.0 - 0.0]
    even = [*draw, *(-value for value in draw)]
    made, student = estimate_skewed_mean(even), estimate_mean(even)
    assert made is not None and student is not None
    assert made.compute_interval(0.95) == pytest.approx(student.compute_interval(0.95), abs=1e-6)
