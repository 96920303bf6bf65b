"""The evaluate.Metric subclasses give the numbers of the plain functions, offline and without files."""

from __future__ import annotations

import socket
from pathlib import Path

import evaluate
import numpy as np
import pytest

from suites.metrics import points
from suites.metrics.evaluated import EVALUATED


def test_each_metric_has_its_subclass() -> None:
    assert set(EVALUATED) == set(points.METRICS)
    assert all(issubclass(kind, evaluate.Metric) for kind in EVALUATED.values())


@pytest.mark.parametrize("name", sorted(EVALUATED))
def test_same_as_the_functions_offline_and_no_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a metric must not open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    rng = np.random.default_rng(3)
    real = EVALUATED[name].real
    guess, true = rng.normal(size=(2, 60)) if real else rng.integers(0, 2, (2, 60))
    metric = EVALUATED[name](cache_dir=str(tmp_path / "cache"))
    once = metric.compute(predictions=guess, references=true)
    assert once == {name: pytest.approx(points.score(name, guess, true), abs=1e-12)}
    metric.add_batch(predictions=guess[:20], references=true[:20])
    metric.add_batch(predictions=guess[20:], references=true[20:])
    assert metric.compute() == once
    assert not list(tmp_path.iterdir())


def test_combined_as_evaluate_combines() -> None:
    both = evaluate.combine([EVALUATED["accuracy"](), EVALUATED["f1"]()])
    result = both.compute(predictions=[1, 0, 1, 1], references=[1, 0, 0, 1])
    assert result == {"accuracy": 75.0, "f1": 80.0}
