"""XNLI: inference trained in one language and scored in fifteen (arXiv 1809.05053)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from harness.core.errors import build_unknown_error
from harness.core.method import SUITES, Average, SourceRequest, Suite, Task, TaskData
from suites.metrics.constant import score_majority_baseline
from suites.sources import xnli_files
from suites.sources.fingerprint import compute_fingerprint
from suites.sources.xnli_files import LABELS, LANGUAGES, REPOSITORY, get_dev_split

if TYPE_CHECKING:
    import numpy as np

METRICS = tuple(f"accuracy_{code}" for code in LANGUAGES)


def _build_averages(tasks: Sequence[str]) -> tuple[Average, ...]:
    """Of each task the mean over all languages."""
    return (Average("xnli", {task: METRICS for task in tasks}),)


@SUITES.register("xnli")
class Xnli(Suite):
    """A task is named by its training language. Where none is named, English trains, as in the paper's transfer."""

    name = "xnli"
    summary = "inference trained in one language (the task; en unless named), scored on dev in fifteen"
    tasks: ClassVar[Mapping[str, Task]] = {
        code: Task(code, LABELS, tuple(map(get_dev_split, LANGUAGES)), METRICS) for code in LANGUAGES
    }
    averages: ClassVar[tuple[Average, ...]] = _build_averages(LANGUAGES)

    def configure(self, request: SourceRequest, named: Sequence[str]) -> Suite:
        """The training languages that were named, English if no task was: the average is over these."""
        codes = [code for code in self.tasks if code in named]
        if named and not codes:
            return self
        tasks = {code: self.tasks[code] for code in codes or ["en"]}
        suite: Suite = type("Xnli", (Xnli,), {"tasks": tasks, "averages": _build_averages(list(tasks))})()
        return suite

    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Train rows in one language and dev rows in all. Raises UserError naming file, line and what was expected."""
        rows, notes = xnli_files.load(self._get_task(task).name, request)
        whole = any(name in (task, self.name) for name, _ in request.files)
        source = f"hub {REPOSITORY}" if request.kind == "hub" else request.kind
        source = f"{source} and data-file" if whole else source
        return TaskData(rows, compute_fingerprint(rows), source, tuple(notes))

    def score(self, task: str, split: str, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Accuracy in points, named by the language that is scored."""
        from suites.metrics import points

        definition = self._get_task(task)
        if split not in definition.eval_splits:
            raise build_unknown_error(f"eval split of {task}", split, definition.eval_splits)
        return {f"accuracy_{split.rpartition('_')[2]}": points.score("accuracy", predictions, targets)}

    def majority(self, task: str, data: TaskData) -> float | None:
        """Mean accuracy over the languages if one class is told for each row."""
        return score_majority_baseline(self, self._get_task(task), data)

    def _get_task(self, name: str) -> Task:
        if name not in self.tasks:
            raise build_unknown_error("task of xnli", name, self.tasks)
        return self.tasks[name]
