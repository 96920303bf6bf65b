"""Any file of texts and labels as a suite: --suite table --data-file FILE --text COLUMN --label COLUMN."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.core.errors import UserError
from harness.core.method import (
    SUITES,
    Average,
    Example,
    SourceRequest,
    Suite,
    SuiteOption,
    SuitePreset,
    Task,
    TaskData,
)
from harness.core.presets import MINILM
from suites.sources.fingerprint import compute_fingerprint
from suites.sources.labelled_files import (
    LabelKind,
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

CLASSES, NUMBERS = ("accuracy", "f1_macro"), ("pearson", "spearman")
USAGE = "give --data-file FILE --text COLUMN (or COLUMN+COLUMN) --label COLUMN"


@dataclasses.dataclass(frozen=True)
class LabelledTable:
    """The train file of one task as it was read: its lines, how its labels are named, and notes on dropped rows."""

    lines: Sequence[Line]
    naming: Naming
    notes: Sequence[str]


@SUITES.register("table")
class TableSuite(Suite):
    """Each file is a task, named after the file without its extension. Give the files with --data-file."""

    name = "table"
    version = 2
    summary = "your own CSV, TSV, JSON or Parquet: --data-file FILE --text COLUMN --label COLUMN; one task per file"
    options = (
        SuiteOption(
            "text", tuple[str, ...], "column of the text, or two columns joined by + (a pair)", (), in_rows=True
        ),
        SuiteOption("label", str, "column of the class or number to predict", in_rows=True),
        SuiteOption(
            "labels",
            LabelKind,
            "class: classification, number: regression; none: inferred from the labels",
            in_rows=True,
        ),
    )
    presets: ClassVar[Mapping[str, SuitePreset]] = {
        "quick": SuitePreset("embedded:encoder"),
        "small": SuitePreset(MINILM),
        "paper": SuitePreset("FacebookAI/roberta-base"),
    }

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.tables: Mapping[str, LabelledTable] = {}

    def configure(self, request: SourceRequest, named: Sequence[str]) -> Suite:
        """Read the files, which say what the tasks are. Raises UserError naming file, line and what was expected."""
        files = {task: paths for (task, split), paths in request.files.items() if split == "train"}
        if not files:
            raise UserError(f"--suite table: no file of rows; {USAGE}")
        text, label, labels = (self.get_option(name) for name in ("text", "label", "labels"))
        if not text or label is None:
            raise UserError(f"--suite table: columns are not named; {USAGE}")
        if len(text) > 2 or label in text:
            raise UserError(f"--text {'+'.join(text)} --label {label}: allowed: one or two other columns")
        # The train file defines the classes; a validation file has to agree with it.
        tables, tasks = {}, {}
        for name, paths in files.items():
            lines, notes = read_lines(paths, text, label, "train")
            naming = choose_naming(lines, labels)
            tables[name] = LabelledTable(rename_labels(lines, naming), naming, notes)
            tasks[name] = _build_task(name, paths[0], tables[name].lines, label, labels)
        # Accuracy of a classification; both correlations of a regression, as in STS-B.
        headlines = {name: task.metrics[:1] if task.labels else task.metrics for name, task in tasks.items()}
        suite = self.with_tasks(tasks, (Average("table", headlines),))
        suite.tables = tables
        return suite

    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Rows of one file, and of its validation file if the user gave one. Raises UserError."""
        definition = self.get_task(task)
        table, label = self.tables[task], self.get_option("label")
        train: Sequence[Line] = table.lines
        dev: Sequence[Line]
        paths = _find_validation_files(task, list(self.tasks), request)
        dropped = table.notes
        names = ", ".join(path.name for path in request.files[task, "train"])
        if paths:
            dev, more = read_lines(paths, self.get_option("text"), label, "validation")
            dev, dropped = rename_labels(dev, table.naming), (*dropped, *more)
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
        # Ratings such as 1 to 5 are read as classes, so the note names the alternative.
        if len(definition.labels) > 2 and all(parse_number(name) is not None for name in definition.labels):
            kinds += "; --labels number reads them as numbers"
        notes.append(f"labels: column '{label}', {kinds}")
        return TaskData(rows, compute_fingerprint(rows), "data-file", (*notes, *dropped))

    def majority(self, task: str, data: TaskData) -> float | None:
        """Accuracy of the most frequent class; 0 for numbers."""
        return self.score_constants(task, data, ("accuracy",))


def _build_task(name: str, path: Path, lines: Sequence[Line], label: str, labels: LabelKind | None) -> Task:
    if choose_label_kind(lines, labels) == "class":
        return Task(name, list_classes(path, lines), ("validation",), CLASSES)
    if len({line.label for line in lines}) == 1:
        raise UserError(f"{path}: one label only, '{lines[0].label}'; is --label {label} the right column?")
    return Task(name, (), ("validation",), NUMBERS)


def _scale(rows: Mapping[str, Sequence[Example]]) -> str:
    """A note on the range of the train labels, which the regression head learns, and on validation labels beyond it."""
    ranges = {}
    for split, examples in rows.items():
        numbers = [float(e.label) for e in examples]
        ranges[split] = (min(numbers), max(numbers))
    (lowest, highest), (least, most) = ranges["train"], ranges["validation"]
    other = f"; validation has {least:g} to {most:g}" if least < lowest or most > highest else ""
    return f"numbers from {lowest:g} to {highest:g}, which is the scale of the regression head{other}"


def _find_validation_files(task: str, tasks: Sequence[str], request: SourceRequest) -> tuple[Path, ...]:
    """Files given as TASK/validation=, or as table/validation= if there is one task. Raises UserError."""
    task_files = request.files.get((task, "validation"), ())
    shared = request.files.get(("table", "validation"), ())
    if shared and len(tasks) > 1:
        raise UserError(
            f"--data-file table/validation=: there are {len(tasks)} tasks; name one: {task}/validation=PATH"
        )
    return task_files or shared
