"""Pearson correlation of values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from harness.core.metric import METRICS, Metric
from suites.metrics.weighting import derive_correlation, divide, standardize, sum_weighted


@METRICS.register("pearson")
class Pearson(Metric):
    name = "pearson"
    reads = "values"

    def compute(self, predictions: Any, references: Any) -> float:
        return correlate(predictions, references)

    def compute_weighted(self, predictions: Any, references: Any, weights: Any) -> Any:
        # Centring first, so that the differences of sums below cancel little.
        p, y = predictions - predictions.mean(axis=1, keepdims=True), (references - references.mean())[None]
        n = weights.sum(axis=1, keepdims=True)
        mean_p, mean_y = sum_weighted(weights, p) / n, sum_weighted(weights, y) / n
        shared = sum_weighted(weights, p * y) / n - mean_p * mean_y
        spread_p = sum_weighted(weights, p**2) / n - mean_p**2
        spread_y = sum_weighted(weights, y**2) / n - mean_y**2
        return divide(100.0 * shared, np.sqrt(np.clip(spread_p, 0, None) * np.clip(spread_y, 0, None)))

    def compute_influence(self, predictions: Any, references: Any) -> Any:
        z, target = standardize(predictions.T.astype(float)), standardize(references.astype(float)[:, None])
        return 100.0 * derive_correlation(z, target) / len(references)


def correlate(predictions: Any, references: Any) -> float:
    """Pearson correlation in points of two [n]; 0 where one is constant."""
    if np.ptp(predictions) == 0 or np.ptp(references) == 0:
        return 0.0
    left, right = _normalize(predictions), _normalize(references)
    return 100.0 * min(1.0, max(-1.0, float(left @ right)))


def _normalize(values: Any) -> Any:
    """Centred values of length 1, scaled first so that squares neither overflow nor vanish."""
    centred = values.astype(float) - np.mean(values, dtype=float)
    centred /= np.max(np.abs(centred))
    return centred / math.sqrt(float(centred @ centred))
