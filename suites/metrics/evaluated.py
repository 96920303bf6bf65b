"""The metrics as subclasses of evaluate.Metric, offline and in memory. Importing this imports `evaluate` (seconds).

`Accuracy().compute(predictions=..., references=...)` gives {"accuracy": points}; the numbers are those of
suites.metrics.points, which the suites call directly.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np

from suites.metrics import points


class PointsMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """A metric of suites.metrics.points; predictions and references are class ids, or values where `real`."""

    metric: ClassVar[str]
    real: ClassVar[bool] = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"keep_in_memory": True, **options})

    def _build_data_dir(self) -> str:
        """The folder evaluate would make in the user's cache: named, but not made, as nothing is written there."""
        return os.path.join(self._data_dir_root, self.name, self.config_name)

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value("float64" if self.real else "int64")
        return evaluate.MetricInfo(
            description=(points.METRICS[self.metric].__doc__ or "").strip(),
            citation="",
            inputs_description="predictions and references: lists of the same length. Result in points, 0 to 100.",
            features=datasets.Features({"predictions": kind, "references": kind}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {self.metric: points.score(self.metric, np.asarray(predictions), np.asarray(references))}


class Accuracy(PointsMetric):
    metric = "accuracy"


class F1(PointsMetric):
    metric = "f1"


class F1Macro(PointsMetric):
    metric = "f1_macro"


class MatthewsCorrelation(PointsMetric):
    metric = "matthews_correlation"


class Pearson(PointsMetric):
    metric = "pearson"
    real = True


class Spearman(PointsMetric):
    metric = "spearman"
    real = True


EVALUATED: dict[str, type[PointsMetric]] = {
    each.metric: each for each in (Accuracy, F1, F1Macro, MatthewsCorrelation, Pearson, Spearman)
}
