"""The metrics as evaluate.Metric give their own numbers, offline and without files."""

from __future__ import annotations

import socket
from pathlib import Path

import evaluate
import numpy as np
import pytest

from harness.core.metric import METRICS
from suites.metrics.evaluated import build_evaluate_metric

NAMES = ("accuracy", "f1", "f1_macro", "matthews_correlation", "pearson", "spearman")


@pytest.mark.parametrize("name", NAMES)
def test_same_as_the_metrics_offline_and_no_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a metric must not open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    rng = np.random.default_rng(3)
    real = METRICS.get(name).reads == "values"
    guess, true = rng.normal(size=(2, 60)) if real else rng.integers(0, 2, (2, 60))
    metric = build_evaluate_metric(name, cache_dir=str(tmp_path / "cache"))
    assert isinstance(metric, evaluate.Metric)
    once = metric.compute(predictions=guess, references=true)
    assert once == {name: pytest.approx(METRICS.get(name)().score(guess, true), abs=1e-12)}
    metric.add_batch(predictions=guess[:20], references=true[:20])
    metric.add_batch(predictions=guess[20:], references=true[20:])
    assert metric.compute() == once
    assert not list(tmp_path.iterdir())


def test_combined_as_evaluate_combines() -> None:
    both = evaluate.combine([build_evaluate_metric("accuracy"), build_evaluate_metric("f1")])
    result = both.compute(predictions=[1, 0, 1, 1], references=[1, 0, 0, 1])
    assert result == {"accuracy": 75.0, "f1": 80.0}


def test_texts() -> None:
    result = build_evaluate_metric("bleu").compute(predictions=["a b c d e"], references=["a b c d e"])
    assert result == {"bleu": pytest.approx(100.0)}
