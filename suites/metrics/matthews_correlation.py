"""Matthews correlation of class ids, any number of classes (Gorodkin 2004)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from harness.core.metric import METRICS, Metric
from suites.metrics.weighting import divide, repeat_row, sum_weighted


@METRICS.register("matthews_correlation")
class MatthewsCorrelation(Metric):
    name = "matthews_correlation"

    def compute(self, predictions: Any, references: Any) -> float:
        classes = np.union1d(predictions, references)
        predicted = np.array([np.sum(predictions == label) for label in classes], dtype=float)
        present = np.array([np.sum(references == label) for label in classes], dtype=float)
        rows = len(references)
        shared = float(np.sum(predictions == references)) * rows - float(predicted @ present)
        spread = (rows**2 - float(predicted @ predicted)) * (rows**2 - float(present @ present))
        return 100.0 * shared / math.sqrt(spread) if spread else 0.0

    def compute_weighted(self, predictions: Any, references: Any, weights: Any) -> Any:
        rows = weights.sum(axis=1, keepdims=True).astype(float)
        shared, guessed_squares, present_squares = sum_weighted(weights, predictions == references) * rows, 0.0, 0.0
        for label in np.union1d(predictions, references):
            guessed = sum_weighted(weights, predictions == label)
            present = sum_weighted(weights, (references == label)[None])
            shared = shared - guessed * present
            guessed_squares, present_squares = guessed_squares + guessed**2, present_squares + present**2
        return divide(100.0 * shared, np.sqrt((rows**2 - guessed_squares) * (rows**2 - present_squares)))

    def compute_influence(self, predictions: Any, references: Any) -> Any:
        n, labels = len(references), np.union1d(predictions, references)
        right = (predictions == references).T.astype(float)
        guessed = {k: (predictions == k).sum(axis=1).astype(float) for k in labels}
        present = {k: float((references == k).sum()) for k in labels}
        # Per row: how often its predicted class is predicted, and how often the class of its label is present.
        of_guess = sum((predictions == k).T * guessed[k] for k in labels)
        of_target = np.sum([(references == k) * present[k] for k in labels], axis=0)[:, None]
        shared: Any = 0.0
        for k in labels:
            shared = shared + (predictions == k).T * present[k] + (references == k)[:, None] * guessed[k]
        top = right.sum(axis=0) * n - sum(guessed[k] * present[k] for k in labels)
        a, b = n**2 - sum(g**2 for g in guessed.values()), n**2 - sum(t**2 for t in present.values())
        bottom = np.sqrt(a * b)
        d_top = right * n + right.sum(axis=0) - shared
        slope = divide(2.0 * (n - of_guess), repeat_row(right, a)) + divide(
            2.0 * (n - of_target), repeat_row(of_target, b)
        )
        ratio = divide(d_top, repeat_row(right, bottom)) - 0.5 * divide(top, bottom) * slope
        # Where one side is constant the metric is defined as 0, so a weight changes nothing.
        return 100.0 * ratio * (bottom > 1e-12)
