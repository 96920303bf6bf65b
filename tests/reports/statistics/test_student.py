"""Student's t against scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from reports.statistics.equivalence import compute_equivalence_p, compute_non_inferiority_p
from reports.statistics.student import compute_cochran_df, estimate_mean, merge_estimates


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_interval_and_p_are_those_of_ttest_1samp(n: int) -> None:
    values = np.random.default_rng(n).normal(0.5, 1, n)
    found = estimate_mean(list(values))
    expected = stats.ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.95)
    assert found is not None and found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    for side, bound in (("greater", -0.3), ("less", 0.9)):
        one = stats.ttest_1samp(values, bound, alternative=side).pvalue
        assert (found.p_above(bound) if side == "greater" else found.p_below(bound)) == pytest.approx(one, rel=1e-9)


def test_equivalence_is_statsmodels_tost() -> None:
    rng = np.random.default_rng(0)
    for margin in (0.2, 1.0, 3.0):
        a, b = rng.normal(80, 1, 6), rng.normal(80.2, 1, 6)
        found = estimate_mean(list(a - b))
        p, lower, _ = ttost_paired(a, b, -margin, margin)
        assert found is not None and compute_equivalence_p(found, margin) == pytest.approx(p, rel=1e-9)
        assert compute_non_inferiority_p(found, margin) == pytest.approx(lower[1], rel=1e-9)


def test_independent_parts_combine_as_welch() -> None:
    """The mean of x and -y is half of the difference of means."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(1, 1, 4), rng.normal(0, 3, 7)
    parts = [estimate_mean(list(x)), estimate_mean(list(-y))]
    found = merge_estimates([p for p in parts if p])
    expected = stats.ttest_ind(x, y, equal_var=False)
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (2 * found.low, 2 * found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0], [0.1 + 0.2, 0.3]])
def test_no_spread_no_interval(values: list[float]) -> None:
    assert estimate_mean(values) is None


def test_cochrans_quantile_lies_between_its_sources() -> None:
    for weight in (0.0, 0.1, 0.5, 1.0):
        df = compute_cochran_df([weight, 1 - weight], [2, 400])
        expected = weight * stats.t.ppf(0.975, 2) + (1 - weight) * stats.t.ppf(0.975, 400)
        assert stats.t.ppf(0.975, df) == pytest.approx(expected, rel=1e-6)


def test_cochran_covers_where_satterthwaite_does_not() -> None:
    """Three seeds and a tenth of their variance from examples, known well."""
    rng = np.random.default_rng(0)
    seen, error = rng.chisquare(2, 20_000) / 2, rng.normal(0, 1.1**0.5, 20_000)
    found = stats.t.ppf(0.975, compute_cochran_df([seen, 0.1], [2, 400])) * np.sqrt(seen + 0.1)
    other = stats.t.ppf(0.975, (seen + 0.1) ** 2 / (seen**2 / 2 + 0.1**2 / 400)) * np.sqrt(seen + 0.1)
    assert 0.945 < np.mean(np.abs(error) <= found) < 0.97
    assert np.mean(np.abs(error) <= other) < 0.935
