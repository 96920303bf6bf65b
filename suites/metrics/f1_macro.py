"""Mean F1 over the classes that are predicted or present; each class counts the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.core.metric import METRICS, Metric
from suites.metrics.f1 import compute_class_f1, compute_class_influence, compute_f1
from suites.metrics.weighting import sum_weighted


@METRICS.register("f1_macro")
class F1Macro(Metric):
    name = "f1_macro"

    def compute(self, predictions: Any, references: Any) -> float:
        # As in scikit-learn: a class of the task that is neither predicted nor present does not count.
        classes = np.union1d(predictions, references)
        return float(np.mean([compute_f1(predictions == label, references == label) for label in classes]))

    def compute_weighted(self, predictions: Any, references: Any, weights: Any) -> Any:
        total: Any = 0.0
        counted: Any = 0.0
        for label in np.union1d(predictions, references):
            predicted, present = predictions == label, references == label
            total = total + compute_class_f1(predicted, present, weights)
            # A class that no drawn example has, predicted or present, is not among the classes of that draw.
            counted = counted + (sum_weighted(weights, predicted | present) > 0)
        return total / counted

    def compute_influence(self, predictions: Any, references: Any) -> Any:
        total: Any = 0.0
        counted: Any = 0.0
        for label in np.union1d(predictions, references):
            predicted, present = predictions == label, references == label
            total = total + compute_class_influence(predicted, present)
            counted = counted + (predicted | present).any(axis=1)
        return total / counted
