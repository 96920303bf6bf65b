"""Plain forms against scikit-learn, scipy and the weighted forms, which are our own code."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from harness.core.errors import CellFailed, UserError
from harness.core.metric import METRICS, resolve_metric


def score(name: str, predictions: np.ndarray, targets: np.ndarray) -> float:
    return METRICS.get(name)().score(predictions, targets)


def draws(classes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(classes)
    return [(rng.integers(0, classes, size), rng.integers(0, classes, size)) for size in (2, 3, 7, 40, 481)]


@pytest.mark.parametrize("classes", [2, 3])
def test_accuracy_and_matthews(classes: int) -> None:
    for guess, true in draws(classes):
        assert score("accuracy", guess, true) == pytest.approx(100 * sklearn.metrics.accuracy_score(true, guess))
        expected = 100 * sklearn.metrics.matthews_corrcoef(true, guess)
        assert score("matthews_correlation", guess, true) == pytest.approx(expected, abs=1e-10)


def test_f1_is_of_class_1() -> None:
    for guess, true in draws(2):
        expected = 100 * sklearn.metrics.f1_score(true, guess, zero_division=0)
        assert score("f1", guess, true) == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_macro_f1(classes: int) -> None:
    for guess, true in draws(classes):
        expected = 100 * sklearn.metrics.f1_score(true, guess, average="macro", zero_division=0)
        assert score("f1_macro", guess, true) == pytest.approx(expected)


@pytest.mark.parametrize("decimals", [0, 1, 6])  # few decimals: many ties
def test_correlations(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    for size in (3, 10, 481):
        true = np.round(rng.uniform(0, 5, size), decimals)
        guess = np.round(true + rng.normal(size=size), decimals)
        assert score("pearson", guess, true) == pytest.approx(100 * scipy.stats.pearsonr(guess, true).statistic)
        assert score("spearman", guess, true) == pytest.approx(100 * scipy.stats.spearmanr(guess, true).statistic)
        assert score("spearman", -true, true) == pytest.approx(-100.0)


def test_pearson_neither_overflows_nor_vanishes() -> None:
    true = np.array([1.0, 2.0, 4.0])
    for scale in (1e-200, 1e200):
        assert score("pearson", true * scale, true) == pytest.approx(100.0)


@pytest.mark.parametrize("constant", [0, 1])
def test_constants_give_what_scikit_learn_gives(constant: int) -> None:
    true = np.array([0, 1, 1, 0, 1])
    guess = np.full_like(true, constant)
    assert score("matthews_correlation", guess, true) == 0.0
    assert score("matthews_correlation", guess, guess) == 0.0
    assert score("f1", guess, true) == pytest.approx(100 * sklearn.metrics.f1_score(true, guess, zero_division=0))
    assert score("f1", np.zeros(5, int), np.zeros(5, int)) == 0.0


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9])
def test_a_constant_has_no_correlation(value: float) -> None:
    true = np.linspace(0, 5, 481)
    assert score("pearson", np.full(481, value), true) == score("spearman", np.full(481, value), true) == 0.0
    assert score("pearson", true, np.full(481, value)) == 0.0


def test_rows_that_cannot_be_scored_fail_the_cell() -> None:
    with pytest.raises(CellFailed, match="expected equal"):
        score("accuracy", np.zeros(3), np.zeros(2))
    with pytest.raises(CellFailed, match="expected equal"):
        score("accuracy", np.zeros(0), np.zeros(0))
    with pytest.raises(CellFailed, match="not finite"):
        score("pearson", np.array([1.0, np.inf]), np.array([1.0, 2.0]))


@pytest.mark.parametrize("name", ["accuracy", "f1", "f1_macro", "matthews_correlation", "pearson", "spearman"])
def test_plain_and_weighted_form_agree(name: str) -> None:
    for guess, true in draws(2 if name == "f1" else 4):
        metric = METRICS.get(name)()
        weighted = metric.compute_weighted(guess[None], true, np.ones((1, len(true)), dtype=int))
        assert metric.compute(guess, true) == pytest.approx(weighted[0, 0], abs=1e-5 if name == "spearman" else 1e-10)


def test_a_score_names_its_metric_and_split() -> None:
    splits = ("validation_matched", "validation_mismatched")
    metric, split = resolve_metric("accuracy_matched", splits)
    assert (metric.name, split) == ("accuracy", "validation_matched")
    assert resolve_metric("f1_macro", ("validation",))[0].name == "f1_macro"
    for name in ("accuracy", "accuracy_other", "acc", "f1_micro"):
        with pytest.raises(UserError, match="with several eval splits"):
            resolve_metric(name, splits)
