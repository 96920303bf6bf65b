"""Accuracy: share of equal class ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.core.metric import METRICS, Metric
from suites.metrics.weighting import sum_weighted


@METRICS.register("accuracy")
class Accuracy(Metric):
    name = "accuracy"

    def compute(self, predictions: Any, references: Any) -> float:
        # Plain numpy in all metrics: scikit-learn's checks take longer than the sums, and records keep their last bits.
        return 100.0 * float(np.mean(predictions == references))

    def compute_weighted(self, predictions: Any, references: Any, weights: Any) -> Any:
        return 100.0 * sum_weighted(weights, predictions == references) / weights.sum(axis=1, keepdims=True)

    def compute_influence(self, predictions: Any, references: Any) -> Any:
        right = (predictions == references).T.astype(float)
        return 100.0 * (right - right.mean(axis=0)) / len(references)
