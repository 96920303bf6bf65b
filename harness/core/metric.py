"""What a metric must be, and the registry of all metrics. No numpy is imported to read this.

    predictions [n] · references [n]                           -> compute            points
    predictions [K, n] · references [n] · weights [D, n]       -> compute_weighted   points [D, K]
    predictions [K, n] · references [n]                        -> compute_influence  points per unit of weight [n, K]

K is the number of replicas (cells), D the number of weightings. A suite calls the first form, a report the others. The
score of a task has the name of its metric, or that name and the end of the eval split's: `accuracy_matched`.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from harness.core.errors import CellFailed, UserError
from harness.core.registry import Registry, load_package

STEP = 1e-4
"""Change of a weight in the numerical derivative; its error is about the square of this."""
ROWS_AT_ONCE = 256
"""Examples whose weights are changed in one call of `compute_weighted`: bounds the matrix of weights."""


class Metric(abc.ABC):
    """One metric, in points (0 to 100; correlations times 100). Where it is undefined it is 0."""

    name: ClassVar[str]
    reads: ClassVar[Literal["classes", "values", "texts"]] = "classes"

    @abc.abstractmethod
    def compute(self, predictions: Any, references: Any) -> float:
        """Points of one replica; class ids [n] int64, values [n] float64 or texts [n], as `reads` says."""

    def compute_weighted(self, predictions: Any, references: Any, weights: Any) -> Any:
        """Points [D, K] if each example counts as often as its weight says; weights [D, n] need not be whole.

        A metric without this form has scores, and a report has no evidence per example for them.
        """
        raise NotImplementedError(f"metric '{self.name}' has no weighted form")

    def compute_influence(self, predictions: Any, references: Any) -> Any:
        """Derivative of the metric by the weight of each example, at weights of 1: [n, K].

        The infinitesimal jackknife (Jaeckel 1972; Efron 1982, chapter 6): the variance over new examples is the sum of
        squares, which is what a bootstrap with infinitely many draws gives of a smooth metric. Zero where the metric
        is undefined. Here the derivative is numerical; a metric may know a closed form.
        """
        import numpy as np

        count = len(references)
        parts = []
        for start in range(0, count, ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, count))
            weights = np.ones((2, len(rows), count))
            weights[0, np.arange(len(rows)), rows] += STEP
            weights[1, np.arange(len(rows)), rows] -= STEP
            above, below = (self.compute_weighted(predictions, references, side) for side in weights)
            parts.append((above - below) / (2 * STEP))
        return np.concatenate(parts)

    def signature(self) -> str | None:
        """How a library computes the metric, in its own words; None where there is nothing to say."""
        return None

    @property
    def is_weighted(self) -> bool:
        """Whether there is a weighted form."""
        return type(self).compute_weighted is not Metric.compute_weighted

    def score(self, predictions: Any, references: Any) -> float:
        """`compute` of rows that can be scored. Raises CellFailed for no rows, unequal lengths or not finite."""
        import numpy as np

        if predictions.shape != references.shape or predictions.ndim != 1 or not len(references):
            shapes = f"{predictions.shape} predictions for {references.shape} targets"
            raise CellFailed(f"{self.name}: {shapes}; expected equal [n], n > 0")
        if self.reads != "texts" and not np.all(np.isfinite(predictions)):
            raise CellFailed(f"{self.name}: a prediction is not finite")
        return self.compute(predictions, references)


METRICS: Registry[type[Metric]] = Registry("metric")
HELD_OUT = "train_heldout"
"""The split of train rows that `--validation` holds out; its scores end in `_heldout`, as in `accuracy_heldout`."""


def resolve_metric(score: str, splits: Sequence[str]) -> tuple[Metric, str]:
    """The metric and the eval split that a score's name stands for.

    `accuracy_matched` -> (accuracy, validation_matched); `f1` -> (f1, validation) where that is the only split.
    Raises UserError for a name that is no registered metric's, or fits several splits.
    """
    if "accuracy" not in METRICS:
        load_package("suites.metrics")  # ours register when imported; no command line has done so in a test or script
    names = [name for name in METRICS.names() if score == name or score.startswith(f"{name}_")]
    for name in sorted(names, key=len, reverse=True):  # f1_macro before f1
        ending = score.removeprefix(name)
        # a name without an ending is of an official split, never of the validation part beside it
        fits = [split for split in splits if split.endswith(ending) and (ending or split != HELD_OUT)]
        if len(fits) == 1:
            return METRICS.get(name)(), fits[0]
    listed = ", ".join(METRICS.names())
    raise UserError(
        f"score '{score}': allowed: a metric ({listed}); with several eval splits, METRIC_ENDING of one of "
        f"{', '.join(splits) or 'none'}"
    )
