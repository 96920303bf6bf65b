"""The sign-flip test against scipy's permutation test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.statistics.analysis import analyse
from reports.statistics.sign_flip import MAX_EXACT_PAIRS, compute_sign_flip_p
from tests.reports.records import grid_of


@pytest.mark.parametrize("n", [2, 3, 5, 8, 10])
@pytest.mark.parametrize("rounded", [False, True])
def test_exact(n: int, rounded: bool) -> None:
    values = np.random.default_rng(n).normal(0.6, 1, n)
    values = np.round(values) if rounded else values  # ties and zeros
    if not values.any():
        return
    expected = stats.permutation_test(
        (values,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert compute_sign_flip_p(values.tolist()) == pytest.approx(expected.pvalue)


def test_random_flips_of_many_pairs_agree_and_are_always_the_same() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 60)
    found = compute_sign_flip_p(values.tolist())
    assert found == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01) and found == compute_sign_flip_p(
        values.tolist()
    )


def test_p_is_never_0_and_nothing_comes_of_no_difference() -> None:
    assert compute_sign_flip_p([5.0 + n for n in range(MAX_EXACT_PAIRS + 4)]) == pytest.approx(1e-4)
    assert compute_sign_flip_p([2.0] * 5) == 2 / 2**5
    assert compute_sign_flip_p([0.0, 0.0]) is None and compute_sign_flip_p([]) is None


def test_it_holds_its_level_where_a_seed_collapses() -> None:
    """Both methods alike and one seed in ten of either collapses: 5 % of p at 0.05 or below, at most."""
    rng = np.random.default_rng(1)
    scores = rng.normal(85, 1, (2000, 2, 10)) - 35.0 * (rng.random((2000, 2, 10)) < 0.1)
    p = [compute_sign_flip_p((a - b).tolist()) for a, b in scores]
    assert np.mean([own is not None and own <= 0.05 for own in p]) < 0.06


def test_comparisons_have_it() -> None:
    scores = {("rte", "lora"): [80.0, 81.0, 82.0, 80.5], ("rte", "lorasp"): [80.5, 81.2, 82.9, 80.9]}
    (judged,) = analyse(grid_of(scores, ["rte"]), []).judged
    assert judged.comparison.sign_flip == 2 / 2**4
