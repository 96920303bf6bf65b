"""XNLI: inference trained in one language and scored in fifteen (arXiv 1809.05053)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from harness.core.errors import unknown
from harness.core.method import SUITES, Average, SourceRequest, Suite, Task, TaskData
from suites.metrics.constant import best_constant
from suites.sources import xnli_files
from suites.sources.fingerprint import fingerprint
from suites.sources.xnli_files import LABELS, LANGUAGES, REPOSITORY, dev

if TYPE_CHECKING:
    import numpy as np

METRICS = tuple(f"accuracy_{code}" for code in LANGUAGES)


def _average(tasks: Sequence[str]) -> tuple[Average, ...]:
    """Of each task the mean over all languages."""
    return (Average("xnli", {task: METRICS for task in tasks}),)


@SUITES.register("xnli")
class Xnli(Suite):
    """A task is named by its training language. Where none is named, English trains, as in the paper's transfer."""

    name = "xnli"
    summary = "inference trained in one language (the task; en unless named), scored on dev in fifteen"
    tasks: ClassVar[Mapping[str, Task]] = {
        code: Task(code, LABELS, tuple(map(dev, LANGUAGES)), METRICS) for code in LANGUAGES
    }
    averages: ClassVar[tuple[Average, ...]] = _average(LANGUAGES)

    def configured(self, request: SourceRequest, named: Sequence[str]) -> Suite:
        """The training languages that were named, English if no task was: the average is over these."""
        own = [code for code in self.tasks if code in named]
        if named and not own:
            return self
        tasks = {code: self.tasks[code] for code in own or ["en"]}
        made: Suite = type("Xnli", (Xnli,), {"tasks": tasks, "averages": _average(list(tasks))})()
        return made

    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Train rows in one language and dev rows in all. Raises UserError naming file, line and what was expected."""
        rows, notes = xnli_files.load(self._task(task).name, request)
        whole = any(name in (task, self.name) for name, _ in request.files)
        source = f"hub {REPOSITORY}" if request.kind == "hub" else request.kind
        source = f"{source} and data-file" if whole else source
        return TaskData(rows, fingerprint(rows), source, tuple(notes))

    def score(self, task: str, split: str, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Accuracy in points, named by the language that is scored."""
        from suites.metrics import points

        asked = self._task(task)
        if split not in asked.eval_splits:
            raise unknown(f"eval split of {task}", split, asked.eval_splits)
        return {f"accuracy_{split.rpartition('_')[2]}": points.score("accuracy", predictions, targets)}

    def majority(self, task: str, data: TaskData) -> float | None:
        """Mean accuracy over the languages if one class is told for each row."""
        return best_constant(self, self._task(task), data)

    def _task(self, name: str) -> Task:
        if name not in self.tasks:
            raise unknown("task of xnli", name, self.tasks)
        return self.tasks[name]
