"""Holm's correction against its definition, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from reports.statistics.holm import apply_holm


def test_by_hand() -> None:
    assert apply_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_comparisons_without_a_test_do_not_count() -> None:
    found = apply_holm([None, 0.02, None, 0.01])
    assert (found[0], found[2]) == (None, None)
    assert (found[1], found[3]) == (pytest.approx(0.02), pytest.approx(0.02))
    assert apply_holm([None]) == [None]


def test_the_same_as_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    values = np.random.default_rng(0).random(40) ** 3
    found = apply_holm(values.tolist())
    np.testing.assert_allclose(np.array(found, dtype=float), multipletests(values, method="holm")[1], rtol=1e-12)
