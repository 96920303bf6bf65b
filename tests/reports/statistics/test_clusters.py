"""Clustered standard errors against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from reports.statistics.clusters import compute_clusters, compute_units, estimate_clustered_mean


def test_subjects_are_clusters_and_splits_are_not() -> None:
    assert compute_clusters(["law/0", "art/0", "law/1"], "test").tolist() == [1, 0, 1]
    assert compute_clusters(["validation/0", "validation/1"], "validation").tolist() == [0, 1]
    assert compute_clusters(["a", "b", "c"], "test").tolist() == [0, 1, 2]


def test_standard_error_is_statsmodels() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 12, 300)
    values = rng.normal(0, 1, 12)[codes] + rng.normal(0, 1, 300)
    fit = sm.OLS(values, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    found = estimate_clustered_mean(values, codes)
    assert found is not None
    assert (found.value, found.se) == (pytest.approx(fit.params[0]), pytest.approx(fit.bse[0], rel=1e-9))
    assert (found.low, found.high) == tuple(pytest.approx(x) for x in fit.conf_int()[0])
    alone = estimate_clustered_mean(values, np.arange(300))
    assert alone is not None and alone.se == pytest.approx(values.std(ddof=1) / 300**0.5)
    assert found.se > 2 * alone.se  # ignoring subjects would claim too much


def test_one_cluster_has_no_error() -> None:
    assert estimate_clustered_mean([1.0, 2.0], np.zeros(2, dtype=int)) is None


def test_translations_are_units_and_rows_of_other_splits_are_not() -> None:
    ids = ["v_en/0", "v_en/1", "v_de/1", "v_de/0"]
    splits = ["v_en", "v_en", "v_de", "v_de"]
    assert compute_units(ids, splits, [2, 0, 0, 2]).tolist() == [0, 1, 1, 0]
    for other in ([2, 0, 1, 2], [2, 0, 0, 1]):
        assert compute_units(ids, splits, other).tolist() == [0, 1, 2, 3]
    assert compute_units(ids[:3], splits[:3], [2, 0, 0]).tolist() == [0, 1, 2]
    assert compute_units(["law/0", "art/0", "law/1"], ["test"] * 3, [0, 0, 0]).tolist() == [1, 0, 1]
