"""Weighted forms against scikit-learn and scipy on the rows written out, and derivatives against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from harness.core.metric import METRICS, Metric

CLASSES = {
    "accuracy": metrics.accuracy_score,
    "f1": lambda y, p: metrics.f1_score(y, p, labels=[1], average="micro", zero_division=0),
    "f1_macro": lambda y, p: metrics.f1_score(y, p, average="macro", zero_division=0),
    "matthews_correlation": metrics.matthews_corrcoef,
}
VALUES = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}


def _weigh(name: str, weights: Any, predictions: Any, references: Any) -> Any:
    return METRICS.get(name)().compute_weighted(predictions, references, weights)


def _weights(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.array([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(7)] + [np.ones(n, dtype=int)])


def test_every_metric_of_classes_or_values_has_a_weighted_form() -> None:
    weighted = {name for name, kind in METRICS if kind().is_weighted and kind.__module__.startswith("suites.")}
    assert weighted == {*CLASSES, *VALUES}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("classes", [2, 3])
def test_classes(name: str, classes: int) -> None:
    rng = np.random.default_rng(classes)
    y, p, w = rng.integers(0, classes, 40), rng.integers(0, classes, (4, 40)), _weights(rng, 40)
    p[3] = 0
    found = _weigh(name, w, p, y)
    for i, row in enumerate(w):
        for j, said in enumerate(p):
            expected = CLASSES[name](np.repeat(y, row), np.repeat(said, row))
            assert found[i, j] == pytest.approx(100 * expected, abs=1e-9)


def test_macro_f1_leaves_out_a_class_that_was_not_drawn() -> None:
    y, p = np.array([0, 1, 2, 0]), np.array([[0, 1, 2, 1]])
    found = _weigh("f1_macro", np.array([[1, 1, 0, 1]]), p, y)
    assert found[0, 0] == pytest.approx(100 * metrics.f1_score(y[[0, 1, 3]], p[0, [0, 1, 3]], average="macro"))


@pytest.mark.parametrize("name", VALUES)
def test_values_with_and_without_ties(name: str) -> None:
    rng = np.random.default_rng(0)
    y, w = np.round(rng.normal(3, 1, 50), 1), _weights(rng, 50)
    p = np.stack([y + rng.normal(0, 1, 50), np.round(y), -y + rng.normal(0, 3, 50)])
    found = _weigh(name, w, p, y)
    for i, row in enumerate(w):
        for j, said in enumerate(p):
            expected = VALUES[name](np.repeat(said, row), np.repeat(y, row)).statistic
            assert found[i, j] == pytest.approx(100 * expected, abs=1e-7)


def test_undefined_is_zero() -> None:
    y, w = np.array([1.0, 2.0, 3.0]), np.ones((1, 3), dtype=int)
    for name in VALUES:
        assert _weigh(name, w, np.full((1, 3), 0.7), y)[0, 0] == 0.0
    for name in ("f1", "matthews_correlation"):
        assert _weigh(name, w, np.zeros((1, 3), dtype=int), np.zeros(3))[0, 0] == 0.0


def test_ranks_of_many_equal_predictions() -> None:
    """1501 equal predictions: their cube has no float32, and the correlation must be 0 all the same."""
    y, w = np.arange(1501.0), np.ones((1, 1501), dtype=int)
    p = np.stack([np.zeros(1501), np.r_[1.0, np.zeros(1500)]])
    found = _weigh("spearman", w, p, y)
    assert found[0, 0] == 0.0
    assert found[0, 1] == pytest.approx(100 * stats.spearmanr(p[1], y).statistic, abs=1e-5)


@pytest.mark.parametrize("name", [*CLASSES, "pearson"])
def test_closed_derivatives_are_the_numerical_ones(name: str) -> None:
    """Two chunks of the numerical form, 300 examples; the last replica predicts one class or value."""
    rng = np.random.default_rng(3)
    if name in CLASSES:
        y, p = rng.integers(0, 3, 300), rng.integers(0, 3, (3, 300))
    else:
        y = rng.normal(size=300)
        p = y + rng.normal(size=(3, 300))
    p[2] = 1
    metric = METRICS.get(name)()
    numerical = Metric.compute_influence(metric, p, y)
    assert numerical.shape == (300, 3)
    np.testing.assert_allclose(metric.compute_influence(p, y), numerical, atol=1e-6)
