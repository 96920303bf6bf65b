"""Any file of texts and labels as a suite: --suite table --data-file FILE --text COLUMN --label COLUMN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.core.errors import UserError, build_unknown_error
from harness.core.method import SUITES, Average, Example, SourceRequest, Suite, Task, TaskData
from suites.metrics.constant import score_majority_baseline
from suites.sources.fingerprint import compute_fingerprint
from suites.sources.labelled_files import (
    Line,
    Naming,
    build_examples,
    choose_label_kind,
    choose_naming,
    list_classes,
    read_lines,
    rename_labels,
    split_off_dev,
)
from suites.sources.scalars import parse_number

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

    def configure(self, request: SourceRequest, named: Sequence[str]) -> Suite:
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
            namings[name] = choose_naming(read, request.labels)
            lines[name] = rename_labels(read, namings[name])
            tasks[name] = _build_task(name, paths[0], lines[name], request)
        average = Average(
            "table", {name: task.metrics[:1] if task.labels else task.metrics for name, task in tasks.items()}
        )
        attributes = {
            "tasks": tasks,
            "averages": (average,),
            "lines": lines,
            "namings": namings,
            "reading_notes": notes,
        }
        suite: Suite = type("TableSuite", (TableSuite,), attributes)()
        return suite

    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Rows of one file, and of the file that was given as its validation. Raises UserError."""
        definition = self._get_task(task)
        train: Sequence[Line] = self.lines[task]
        dev: Sequence[Line]
        paths = _find_validation_files(task, list(self.tasks), request)
        dropped = self.reading_notes[task]
        names = ", ".join(path.name for path in request.files[task, "train"])
        if paths:
            assert request.label is not None
            dev, more = read_lines(paths, request.text, request.label, "validation")
            dev, dropped = rename_labels(dev, self.namings[task]), (*dropped, *more)
            notes = [f"partial: validation is read from {', '.join(path.name for path in paths)}"]
        else:
            train, dev = split_off_dev(train, definition.labels)
            how = "a fifth of each label's rows" if definition.labels else "a fifth of the rows"
            notes = [f"derived: validation is {len(dev)} of {len(train) + len(dev)} rows of {names} ({how}, seed 0)"]
        if not train or not dev:
            raise UserError(f"{names}: {len(train) + len(dev)} rows, too few for train and validation; give more rows")
        rows = {"train": build_examples(train, "train", definition.labels)}
        rows["validation"] = build_examples(dev, "validation", definition.labels)
        kinds = f"classes in order: {', '.join(definition.labels)}" if definition.labels else _scale(rows)
        if len(definition.labels) > 2 and all(parse_number(name) is not None for name in definition.labels):
            kinds += "; --labels number reads them as numbers"
        notes.append(f"labels: column '{request.label}', {kinds}")
        return TaskData(rows, compute_fingerprint(rows), "data-file", (*notes, *dropped))

    def score(self, task: str, split: str, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Accuracy and macro F1 of classes, Pearson and Spearman of numbers, in points."""
        from suites.metrics import points

        definition = self._get_task(task)
        if split not in definition.eval_splits:
            raise build_unknown_error(f"eval split of {task}", split, definition.eval_splits)
        return {name: points.score(name, predictions, targets) for name in definition.metrics}

    def majority(self, task: str, data: TaskData) -> float | None:
        """Accuracy of the most frequent class; 0 for numbers."""
        return score_majority_baseline(self, self._get_task(task), data, ("accuracy",))

    def _get_task(self, name: str) -> Task:
        if name not in self.tasks:
            raise build_unknown_error("task of table", name, self.tasks)
        return self.tasks[name]


def _build_task(name: str, path: Path, lines: Sequence[Line], request: SourceRequest) -> Task:
    if choose_label_kind(lines, request.labels) == "class":
        return Task(name, list_classes(path, lines), ("validation",), CLASSES)
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


def _find_validation_files(task: str, tasks: Sequence[str], request: SourceRequest) -> tuple[Path, ...]:
    """Files given as TASK/validation=, or as table/validation= where there is one task."""
    task_files = request.files.get((task, "validation"), ())
    shared = request.files.get(("table", "validation"), ())
    if shared and len(tasks) > 1:
        raise UserError(
            f"--data-file table/validation=: there are {len(tasks)} tasks; name one: {task}/validation=PATH"
        )
    return task_files or shared
