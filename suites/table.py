"""Any file of texts and labels as a suite: --suite table --data-file FILE --text COLUMN --label COLUMN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.contracts import SUITES, Average, Example, SourceRequest, Suite, Task, TaskData
from harness.errors import UserError, unknown
from suites.metrics.constant import best_constant
from suites.sources.fingerprint import fingerprint
from suites.sources.labelled_files import (
    Line,
    Naming,
    carve,
    classes_of,
    examples_of,
    naming_of,
    read_lines,
    reading_of,
    rename_labels,
)
from suites.sources.scalars import number_of

if TYPE_CHECKING:
    import numpy as np

CLASSES, NUMBERS = ("accuracy", "f1_macro"), ("pearson", "spearman")
USAGE = "give --data-file FILE --text COLUMN (or COLUMN+COLUMN) --label COLUMN"


@SUITES.register("table")
class TableSuite(Suite):
    """A task is a file, named by the file's name without its extension; there are none before `configured`."""

    name = "table"
    version = 2
    summary = "your own CSV, TSV, JSON or Parquet: --data-file FILE --text COLUMN --label COLUMN; a task a file"
    tasks: ClassVar[Mapping[str, Task]] = {}
    averages: ClassVar[tuple[Average, ...]] = ()
    lines: ClassVar[Mapping[str, Sequence[Line]]] = {}
    namings: ClassVar[Mapping[str, Naming]] = {}
    reading_notes: ClassVar[Mapping[str, Sequence[str]]] = {}

    def configured(self, request: SourceRequest, named: Sequence[str]) -> Suite:
        """Read the files, which say what the tasks are. Raises UserError naming file, line and what was expected."""
        files = {task: paths for (task, split), paths in request.files.items() if split == "train"}
        if not files:
            raise UserError(f"--suite table: no file of rows; {USAGE}")
        if not request.text or request.label is None:
            raise UserError(f"--suite table: columns are not named; {USAGE}")
        if len(request.text) > 2 or request.label in request.text:
            raise UserError(
                f"--text {'+'.join(request.text)} --label {request.label}: allowed: one or two other columns"
            )
        lines, tasks, namings, notes = {}, {}, {}, {}
        for name, paths in files.items():
            read, notes[name] = read_lines(paths, request.text, request.label, "train")
            namings[name] = naming_of(read, request.labels)
            lines[name] = rename_labels(read, namings[name])
            tasks[name] = _task(name, paths[0], lines[name], request)
        average = Average(
            "table", {name: task.metrics[:1] if task.labels else task.metrics for name, task in tasks.items()}
        )
        own = {"tasks": tasks, "averages": (average,), "lines": lines, "namings": namings, "reading_notes": notes}
        made: Suite = type("TableSuite", (TableSuite,), own)()
        return made

    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Rows of one file, and of the file that was given as its validation. Raises UserError."""
        asked = self._task(task)
        train: Sequence[Line] = self.lines[task]
        dev: Sequence[Line]
        paths = _validation(task, list(self.tasks), request)
        dropped = self.reading_notes[task]
        names = ", ".join(path.name for path in request.files[task, "train"])
        if paths:
            assert request.label is not None
            dev, more = read_lines(paths, request.text, request.label, "validation")
            dev, dropped = rename_labels(dev, self.namings[task]), (*dropped, *more)
            notes = [f"partial: validation is read from {', '.join(path.name for path in paths)}"]
        else:
            train, dev = carve(train, asked.labels)
            how = "a fifth of each label's rows" if asked.labels else "a fifth of the rows"
            notes = [f"derived: validation is {len(dev)} of {len(train) + len(dev)} rows of {names} ({how}, seed 0)"]
        if not train or not dev:
            raise UserError(f"{names}: {len(train) + len(dev)} rows, too few for train and validation; give more rows")
        rows = {"train": examples_of(train, "train", asked.labels)}
        rows["validation"] = examples_of(dev, "validation", asked.labels)
        kinds = f"classes in order: {', '.join(asked.labels)}" if asked.labels else _scale(rows)
        if len(asked.labels) > 2 and all(number_of(name) is not None for name in asked.labels):
            kinds += "; --labels number reads them as numbers"
        notes.append(f"labels: column '{request.label}', {kinds}")
        return TaskData(rows, fingerprint(rows), "data-file", (*notes, *dropped))

    def score(self, task: str, split: str, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Accuracy and macro F1 of classes, Pearson and Spearman of numbers, in points."""
        from suites.metrics import points

        asked = self._task(task)
        if split not in asked.eval_splits:
            raise unknown(f"eval split of {task}", split, asked.eval_splits)
        return {name: points.score(name, predictions, targets) for name in asked.metrics}

    def majority(self, task: str, data: TaskData) -> float | None:
        """Accuracy of the most frequent class; 0 for numbers."""
        return best_constant(self, self._task(task), data, ("accuracy",))

    def _task(self, name: str) -> Task:
        if name not in self.tasks:
            raise unknown("task of table", name, self.tasks)
        return self.tasks[name]


def _task(name: str, path: Path, lines: Sequence[Line], request: SourceRequest) -> Task:
    if reading_of(lines, request.labels) == "class":
        return Task(name, classes_of(path, lines), ("validation",), CLASSES)
    if len({line.label for line in lines}) == 1:
        raise UserError(f"{path}: one label only, '{lines[0].label}'; is --label {request.label} the right column?")
    return Task(name, (), ("validation",), NUMBERS)


def _scale(rows: Mapping[str, Sequence[Example]]) -> str:
    """The range of the train rows' numbers, which the regression head learns; of validation if it goes beyond."""
    ranges = {}
    for split, examples in rows.items():
        numbers = [float(e.label) for e in examples]
        ranges[split] = (min(numbers), max(numbers))
    (lowest, highest), (least, most) = ranges["train"], ranges["validation"]
    other = f"; validation has {least:g} to {most:g}" if least < lowest or most > highest else ""
    return f"numbers from {lowest:g} to {highest:g}, which is the scale of the regression head{other}"


def _validation(task: str, tasks: Sequence[str], request: SourceRequest) -> tuple[Path, ...]:
    """Files given as TASK/validation=, or as table/validation= where there is one task."""
    own = request.files.get((task, "validation"), ())
    shared = request.files.get(("table", "validation"), ())
    if shared and len(tasks) > 1:
        raise UserError(
            f"--data-file table/validation=: there are {len(tasks)} tasks; name one: {task}/validation=PATH"
        )
    return own or shared
