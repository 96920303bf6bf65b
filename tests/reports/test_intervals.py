"""Intervals against scipy.stats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from reports.frames import Seeds
from reports.statistics.shared_seeds import estimate_interval
from reports.statistics.student import Estimate


def estimate(values: Sequence[float]) -> Estimate | None:
    """The estimate of runs whose streams all move together."""
    by_seeds: dict[Seeds, float] = {(("init", i), ("mask", i)): value for i, value in enumerate(values)}
    return estimate_interval(by_seeds)


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
    assert one == Estimate(70.0, 1) and one.half is one.low is one.high is None and not one.excludes_zero


@pytest.mark.parametrize(
    ("values", "half", "excludes"),
    [
        ([1.0, 1.1, 0.9], 0.248, True),
        ([1.0, -1.1, 0.9], 2.94, False),
        ([2.0, 2.0, 2.0], 0, False),
        ([0.0, 0.0], 0, False),
    ],
)
def test_only_an_interval_with_a_width_excludes_zero(values: list[float], half: float, excludes: bool) -> None:
    found = estimate(values)
    assert found is not None and found.half == pytest.approx(half, abs=0.01) and found.excludes_zero is excludes
    assert found.constant is (half == 0)
