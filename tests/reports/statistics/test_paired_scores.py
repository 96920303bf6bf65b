"""Two models on the same questions, against statsmodels and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from reports.statistics.paired_scores import compare_paired


def draw(seed: int, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    return (rng.random(n) > hard).astype(float), (rng.random(n) > hard * 0.8).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_right_and_wrong_is_mcnemar_and_the_t_interval_of_the_pairs(seed: int) -> None:
    first, second = draw(seed)
    table = [[int(((first == a) & (second == b)).sum()) for b in (1, 0)] for a in (1, 0)]
    paired = compare_paired(first, second)
    assert paired.p == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert (paired.improved, paired.worsened) == (table[0][1], table[1][0])
    expected = stats.ttest_rel(first, second)
    assert paired.points == pytest.approx(100 * (first - second).mean())
    interval = expected.confidence_interval()
    assert [paired.low, paired.high] == pytest.approx([100 * interval.low, 100 * interval.high])


def test_interval_is_near_that_of_a_paired_bootstrap() -> None:
    first, second = draw(7, 400)
    drawn = stats.bootstrap((first - second,), np.mean, n_resamples=5000, rng=0, method="percentile")
    paired = compare_paired(first, second)
    assert paired.low == pytest.approx(100 * drawn.confidence_interval.low, abs=0.5)
    assert paired.high == pytest.approx(100 * drawn.confidence_interval.high, abs=0.5)


def test_clusters_are_those_of_statsmodels() -> None:
    first, second = draw(3)
    codes = np.random.default_rng(0).integers(0, 9, len(first))
    gaps = 100 * (first - second)
    fit = sm.OLS(gaps, np.ones(len(gaps))).fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    # statsmodels' factor of small samples has (n - 1) / (n - k) too, which is 1 here
    paired = compare_paired(first, second, codes)
    assert paired.p == pytest.approx(fit.pvalues[0])
    assert [paired.low, paired.high] == pytest.approx(fit.conf_int()[0].tolist())


def test_one_cluster_is_none() -> None:
    first, second = draw(4)
    assert compare_paired(first, second, np.zeros(len(first), dtype=int)) == compare_paired(first, second)


def test_the_same_answers_have_no_interval() -> None:
    first, _ = draw(5)
    paired = compare_paired(first, first)
    assert (paired.points, paired.low, paired.p) == (0, None, 1)
    clustered = compare_paired(first, first, np.arange(len(first)) % 3)
    assert (clustered.low, clustered.p) == (None, 1)


def test_scores_that_are_not_right_or_wrong_have_a_sign_test() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(50), rng.random(50) * 0.7
    won, lost = int((first > second).sum()), int((first < second).sum())
    assert compare_paired(first, second).p == pytest.approx(stats.binomtest(won, won + lost).pvalue)
