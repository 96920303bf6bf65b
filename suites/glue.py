"""GLUE: nine tasks with their official metrics, and two averages over eight of them (WNLI is left out of both)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from harness.core.errors import build_unknown_error
from harness.core.method import SUITES, Average, SourceRequest, Suite, Task, TaskData
from suites.metrics.constant import score_majority_baseline
from suites.sources.collection import Collection
from suites.sources.glue_layouts import LAYOUTS

if TYPE_CHECKING:
    import numpy as np

ENTAILMENT = ("entailment", "not_entailment")
DEV = ("validation",)
MATCHED = ("validation_matched", "validation_mismatched")

TASKS = (
    Task("cola", ("unacceptable", "acceptable"), DEV, ("matthews_correlation",)),
    Task("sst2", ("negative", "positive"), DEV, ("accuracy",)),
    Task("mrpc", ("not_equivalent", "equivalent"), DEV, ("accuracy", "f1")),
    Task("stsb", (), DEV, ("pearson", "spearman")),
    Task("qqp", ("not_duplicate", "duplicate"), DEV, ("accuracy", "f1")),
    Task("mnli", ("entailment", "neutral", "contradiction"), MATCHED, ("accuracy_matched", "accuracy_mismatched")),
    Task("qnli", ENTAILMENT, DEV, ("accuracy",)),
    Task("rte", ENTAILMENT, DEV, ("accuracy",)),
    Task("wnli", ("not_entailment", "entailment"), DEV, ("accuracy",)),
)
AVERAGED = {task.name: task.metrics for task in TASKS if task.name != "wnli"}


@SUITES.register("glue")
class Glue(Suite):
    """The General Language Understanding Evaluation (arXiv 1804.07461), scored on its dev sets."""

    name = "glue"
    summary = "nine tasks of English sentence understanding, scored on the official dev sets"
    tasks: ClassVar[Mapping[str, Task]] = {task.name: task for task in TASKS}
    averages = (
        Average("glue", AVERAGED),
        # As in Hu et al. (arXiv 2106.09685), table 2; their MNLI is over both dev sets, this one matched.
        Average(
            "lora",
            {
                **AVERAGED,
                "mrpc": ("accuracy",),
                "qqp": ("accuracy",),
                "stsb": ("pearson",),
                "mnli": ("accuracy_matched",),
            },
        ),
    )
    rows: ClassVar[Collection] = Collection("glue", "nyu-mll/glue", LAYOUTS)

    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Rows of one task: "train" and each eval split. Raises UserError naming file, line and what was expected."""
        return self.rows.load(self._get_task(task), request)

    def score(self, task: str, split: str, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Scores in points. Raises UserError for a wrong name, CellFailed for a prediction that is not finite."""
        from suites.metrics import points

        definition = self._get_task(task)
        if split not in definition.eval_splits:
            raise build_unknown_error(f"eval split of {task}", split, definition.eval_splits)
        part = split.removeprefix("validation")
        names = (name for name in definition.metrics if name.endswith(part))
        return {name: points.score(name.removesuffix(part), predictions, targets) for name in names}

    def majority(self, task: str, data: TaskData) -> float | None:
        """The task's score (that of the average "glue"; accuracy for wnli) if one class is told for each row.

        The class is the best one, which for F1 need not be the most frequent. 0 for cola and stsb: a constant
        has no correlation.
        """
        return score_majority_baseline(self, self._get_task(task), data)

    def _get_task(self, name: str) -> Task:
        if name not in self.tasks:
            raise build_unknown_error("task of glue", name, self.tasks)
        return self.tasks[name]
