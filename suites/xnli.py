"""XNLI: inference, trained in one language and scored in fifteen (arXiv 1809.05053)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness.core.method import SUITES, Average, SourceRequest, Suite, SuitePreset, Task, TaskData
from harness.core.presets import E5
from suites.sources import xnli_files
from suites.sources.fingerprint import compute_fingerprint
from suites.sources.xnli_files import LABELS, LANGUAGES, REPOSITORY, get_dev_split

METRICS = tuple(f"accuracy_{code}" for code in LANGUAGES)


def _build_averages(tasks: Sequence[str]) -> tuple[Average, ...]:
    """The mean over all languages, for each task."""
    return (Average("xnli", {task: METRICS for task in tasks}),)


@SUITES.register("xnli")
class Xnli(Suite):
    """Each task is a training language; by default only English trains, as in the paper's zero-shot transfer."""

    name = "xnli"
    summary = "inference: trained in one language (the task, by default en), scored on the dev sets of fifteen"
    presets: ClassVar[Mapping[str, SuitePreset]] = {
        "quick": SuitePreset("embedded:multilingual", {"max_steps": 300}),
        "small": SuitePreset(E5, note=f"model: {E5} reads the sentences without the prefix 'query: ' of its training"),
        "paper": SuitePreset("FacebookAI/xlm-roberta-base"),
    }
    tasks = {  # noqa: RUF012 - read only
        code: Task(code, LABELS, tuple(map(get_dev_split, LANGUAGES)), METRICS) for code in LANGUAGES
    }
    averages = _build_averages(LANGUAGES)

    def configure(self, request: SourceRequest, named: Sequence[str]) -> Suite:
        """The suite with the training languages that the user named, or English; its average is over these."""
        # Names of other suites' tasks only: the user wants none of ours, and the plan has to know them all.
        codes = [code for code in self.tasks if code in named]
        if named and not codes:
            return self
        tasks = {code: self.tasks[code] for code in codes or ["en"]}
        return self.with_tasks(tasks, _build_averages(list(tasks)))

    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Train rows in one language and dev rows in all. Raises UserError naming file, line and what was expected."""
        rows, notes = xnli_files.load(self.get_task(task).name, request)
        whole = any(name in (task, self.name) for name, _ in request.files)
        source = f"hub {REPOSITORY}" if request.kind == "hub" else request.kind
        source = f"{source} and data-file" if whole else source
        return TaskData(rows, compute_fingerprint(rows), source, tuple(notes))
