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


def test_the_definition_of_1979() -> None:
    """The k-th smallest of m, times m - k + 1, never below the one before and never above 1."""
    values = np.random.default_rng(0).random(40) ** 3
    ordered = np.sort(values)
    steps = np.minimum(1, np.maximum.accumulate(ordered * np.arange(40, 0, -1)))
    found = np.array(apply_holm(values.tolist()), dtype=float)
    np.testing.assert_allclose(found[np.argsort(values)], steps, rtol=1e-12)
