"""The metrics as objects of `evaluate`, offline and in memory.

`build_evaluate_metric("accuracy").compute(predictions=..., references=...)` gives {"accuracy": points}.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.core.metric import METRICS

if TYPE_CHECKING:
    import evaluate

FEATURES = {"classes": "int64", "values": "float64", "texts": "string"}


def build_evaluate_metric(name: str, **options: Any) -> evaluate.Metric:
    """A registered metric as an evaluate.Metric, which batches and combines. Raises UserError for an unknown name.

    `options` are those of evaluate.Metric. The first call imports `evaluate` (seconds).
    """
    METRICS.get(name)
    return _build_class(name)(**{"keep_in_memory": True, **options})


@functools.cache
def _build_class(name: str) -> Any:
    import datasets
    import evaluate

    metric = METRICS.get(name)()

    # Defined in a function, because importing `evaluate` takes seconds and few users need it.
    class Evaluated(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
        def _build_data_dir(self) -> str:
            """The folder evaluate would make in the user's cache: named, but not made, as nothing is written there."""
            return os.path.join(self._data_dir_root, self.name, self.config_name)

        def _info(self) -> evaluate.MetricInfo:
            kind = datasets.Value(FEATURES[metric.reads])
            return evaluate.MetricInfo(
                description=(type(metric).__doc__ or "").strip(),
                citation="",
                inputs_description="predictions and references: lists of the same length. Result in points, 0 to 100.",
                features=datasets.Features({"predictions": kind, "references": kind}),
            )

        def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
            return {name: metric.score(np.asarray(predictions), np.asarray(references))}

    return Evaluated
