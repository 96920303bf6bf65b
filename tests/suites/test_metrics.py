"""Metrics against scikit-learn and scipy; the evaluate.Metric classes against the plain functions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from harness.contracts import SUITES
from suites.metrics import points

RNG = np.random.default_rng(0)
TRUE, SAID = RNG.integers(0, 2, 300), RNG.integers(0, 2, 300)
VALUES = RNG.normal(size=300)
NEAR = np.round(VALUES + RNG.normal(size=300), 1)  # rounded: ties matter to Spearman


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", sklearn.metrics.accuracy_score(TRUE, SAID)),
        ("f1", sklearn.metrics.f1_score(TRUE, SAID)),
        ("matthews_correlation", sklearn.metrics.matthews_corrcoef(TRUE, SAID)),
    ],
)
def test_classes(name: str, expected: float) -> None:
    assert points.score(name, SAID, TRUE) == pytest.approx(100 * expected, abs=1e-10)


def test_correlations() -> None:
    assert points.score("pearson", NEAR, VALUES) == pytest.approx(
        100 * scipy.stats.pearsonr(NEAR, VALUES)[0], abs=1e-10
    )
    assert points.score("spearman", NEAR, VALUES) == pytest.approx(
        100 * scipy.stats.spearmanr(NEAR, VALUES)[0], abs=1e-10
    )


@pytest.mark.parametrize("task", list(SUITES.get("glue").tasks))
def test_perfect_and_constant_predictions(task: str) -> None:
    suite = SUITES.get("glue")()
    for split in suite.tasks[task].eval_splits:
        true = VALUES if not suite.tasks[task].labels else TRUE
        assert all(v == pytest.approx(100) for v in suite.score(task, split, true, true).values())
        constant = suite.score(task, split, np.zeros_like(true), true)
        assert all(np.isfinite(v) for v in constant.values())
        if task in ("cola", "stsb"):
            assert set(constant.values()) == {0.0}


def test_average_of_each_task() -> None:
    suite = SUITES.get("glue")()
    glue, lora = suite.averages
    scores = {"accuracy": 80.0, "f1": 90.0, "pearson": 70.0, "spearman": 60.0}
    mnli = {"accuracy_matched": 84.0, "accuracy_mismatched": 82.0}
    assert [suite.headline("mrpc", scores, a) for a in (glue, lora)] == [85.0, 80.0]
    assert [suite.headline("stsb", scores, a) for a in (glue, lora)] == [65.0, 70.0]
    assert [suite.headline("mnli", mnli, a) for a in (glue, lora)] == [83.0, 84.0]
    assert suite.headline("wnli", scores, glue) is None and "wnli" not in lora.scores
