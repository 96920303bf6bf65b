"""Metrics in plain numpy, in points (0 to 100; correlations times 100). Nothing heavy is imported to score a cell.

Where a metric is undefined (constant predictions or targets) it is 0, as scikit-learn has it with zero_division=0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.core.errors import CellFailed

Array = npt.NDArray[Any]


def accuracy(predictions: Array, targets: Array) -> float:
    """Share of equal class ids; both [n]."""
    return 100.0 * float(np.mean(predictions == targets))


def f1(predictions: Array, targets: Array) -> float:
    """F1 of class 1; both [n]."""
    hits = int(np.sum((predictions == 1) & (targets == 1)))
    marked = int(np.sum(predictions == 1)) + int(np.sum(targets == 1))
    return 200.0 * hits / marked if marked else 0.0


def f1_macro(predictions: Array, targets: Array) -> float:
    """Mean F1 over the classes that are predicted or present, each counting the same; both [n]."""
    classes = np.union1d(predictions, targets)
    return float(np.mean([f1(predictions == each, targets == each) for each in classes]))


def matthews_correlation(predictions: Array, targets: Array) -> float:
    """Matthews correlation of class ids, any number of classes; both [n]."""
    classes = np.union1d(predictions, targets)
    guessed = np.array([np.sum(predictions == c) for c in classes], dtype=float)
    present = np.array([np.sum(targets == c) for c in classes], dtype=float)
    rows = len(targets)
    shared = float(np.sum(predictions == targets)) * rows - float(guessed @ present)
    spread = (rows**2 - float(guessed @ guessed)) * (rows**2 - float(present @ present))
    return 100.0 * shared / math.sqrt(spread) if spread else 0.0


def pearson(predictions: Array, targets: Array) -> float:
    """Pearson correlation; both [n] float64."""
    if np.ptp(predictions) == 0 or np.ptp(targets) == 0:
        return 0.0
    left, right = _scale_to_unit(predictions), _scale_to_unit(targets)
    return 100.0 * min(1.0, max(-1.0, float(left @ right)))


def spearman(predictions: Array, targets: Array) -> float:
    """Spearman rank correlation, ties share their mean rank; both [n] float64."""
    return pearson(_compute_ranks(predictions), _compute_ranks(targets))


def _scale_to_unit(values: Array) -> Array:
    """Centred values of length 1, scaled first so that squares neither overflow nor vanish."""
    centred = values.astype(float) - np.mean(values, dtype=float)
    centred /= np.max(np.abs(centred))
    unit: Array = centred / math.sqrt(float(centred @ centred))
    return unit


def _compute_ranks(values: Array) -> Array:
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    mean_rank = last - (sizes - 1) / 2.0
    return np.asarray(mean_rank[group])


METRICS: Mapping[str, Callable[[Array, Array], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "f1_macro": f1_macro,
    "matthews_correlation": matthews_correlation,
    "pearson": pearson,
    "spearman": spearman,
}


def score(name: str, predictions: Array, targets: Array) -> float:
    """One metric by name. Raises CellFailed for no rows, unequal lengths or a prediction that is not finite."""
    if predictions.shape != targets.shape or predictions.ndim != 1 or not len(targets):
        raise CellFailed(
            f"{name}: {predictions.shape} predictions for {targets.shape} targets; expected equal [n], n > 0"
        )
    if not np.all(np.isfinite(predictions)):
        raise CellFailed(f"{name}: a prediction is not finite")
    return METRICS[name](predictions, targets)
