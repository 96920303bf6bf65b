"""Intervals against scipy.stats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.intervals import Estimate, estimate


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_interval_is_scipys_t_interval(n: int) -> None:
    values = np.random.default_rng(n).normal(80, 3, n)
    found = estimate(list(values))
    assert found is not None and found.n == n
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))


def test_paired_interval_is_that_of_ttest_rel() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(80, 3, 5), rng.normal(79, 3, 5)
    found = estimate(list(a - b))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.excludes_zero == (stats.ttest_rel(a, b).pvalue < 0.05)


def test_few_values_give_no_interval_and_say_so() -> None:
    assert estimate([]) is None
    one = estimate([70.0])
    assert one == Estimate(70.0, 1, None) and one.low is None and one.high is None
    assert one.reading == "one paired seed: no interval" and not one.excludes_zero


@pytest.mark.parametrize(
    ("values", "reading"),
    [
        ([1.0, 1.1, 0.9], "interval excludes 0"),
        ([1.0, -1.1, 0.9], "not distinguishable from 0"),
        ([2.0, 2.0, 2.0], "no spread over seeds: no interval"),
        ([0.0, 0.0], "not distinguishable from 0"),
    ],
)
def test_reading(values: list[float], reading: str) -> None:
    found = estimate(values)
    assert found is not None and found.reading == reading
