"""F1 of class 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.core.metric import METRICS, Metric
from suites.metrics.weighting import divide, repeat_row, sum_weighted


@METRICS.register("f1")
class F1(Metric):
    name = "f1"

    def compute(self, predictions: Any, references: Any) -> float:
        return compute_f1(predictions == 1, references == 1)

    def compute_weighted(self, predictions: Any, references: Any, weights: Any) -> Any:
        return compute_class_f1(predictions == 1, references == 1, weights)

    def compute_influence(self, predictions: Any, references: Any) -> Any:
        return compute_class_influence(predictions == 1, references == 1)


def compute_class_f1(predicted: Any, present: Any, weights: Any) -> Any:
    """Weighted F1 in points [D, K] of one class: whether it is predicted [K, n] and present [n]."""
    hits = sum_weighted(weights, predicted & present)
    marked = sum_weighted(weights, predicted) + sum_weighted(weights, present[None])
    return divide(200.0 * hits, marked)


def compute_class_influence(predicted: Any, present: Any) -> Any:
    """Derivative [n, K] of the F1 of one class by the weight of each example."""
    hits = (predicted & present).T.astype(float)
    marks = predicted.T.astype(float) + present[:, None]
    marked = marks.sum(axis=0)
    value = divide(200.0 * hits.sum(axis=0), marked)
    return divide(200.0 * hits - value * marks, repeat_row(marks, marked))


def compute_f1(predicted: Any, present: Any) -> float:
    """F1 in points of one class: `predicted` and `present` [n] bool; 0 where it is neither."""
    # 2 TP / (predicted + present) needs no special case for a precision or recall of 0 / 0.
    hits = int(np.sum(predicted & present))
    marked = int(np.sum(predicted)) + int(np.sum(present))
    return 200.0 * hits / marked if marked else 0.0
