"""GLUE: nine tasks with their official metrics, and two averages over eight of them (both exclude WNLI)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.core.method import SUITES, Average, SourceRequest, Suite, SuitePreset, Task, TaskData
from harness.core.presets import MINILM
from suites.sources.collection import Collection
from suites.sources.glue_layouts import LAYOUTS

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
# The literature leaves WNLI out: its dev set repeats train sentences with the opposite label.
AVERAGED = {task.name: task.metrics for task in TASKS if task.name != "wnli"}


@SUITES.register("glue")
class Glue(Suite):
    """The General Language Understanding Evaluation (arXiv 1804.07461), scored on its dev sets."""

    name = "glue"
    summary = "nine tasks of English sentence understanding, scored on the official dev sets"
    presets: ClassVar[Mapping[str, SuitePreset]] = {
        "quick": SuitePreset("embedded:encoder"),
        "small": SuitePreset(MINILM),
        "paper": SuitePreset("FacebookAI/roberta-base"),
    }
    tasks = {task.name: task for task in TASKS}  # noqa: RUF012 - read only
    averages = (
        Average("glue", AVERAGED),
        # As in table 2 of LoRA (arXiv 2106.09685), except that MNLI is scored on the matched dev set only.
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
        return self.rows.load(self.get_task(task), request)
