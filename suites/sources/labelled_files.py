"""Any table of texts and labels.

file -> read_lines (Line: place, texts, label as written) -> choose_naming, rename_labels (one name per value)
     -> choose_label_kind (classes or numbers) -> split_off_dev if there is no validation file -> build_examples
"""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import UserError, build_unknown_error
from harness.core.method import Example
from suites.sources.scalars import BOOLEANS, MISSING, SEPARATED, format_number, parse_number
from suites.sources.tables import DataTable, open_table

MANY = 20
"""Whole numbers with more distinct values than this are read as numbers; with fewer they are classes."""
DEV_SHARE, MOST_DEV = 0.2, 2000
"""Share of the rows, and their maximum number, that validate if there is no validation file."""
MOST_CLASSES = 1000
"""More classes than this are ids or texts in the wrong column."""

LabelKind = Literal["class", "number"]


@dataclasses.dataclass(frozen=True)
class Line:
    """One row: its place for error messages, its texts and its label as written."""

    where: str
    texts: tuple[str, ...]
    label: str


def read_lines(
    paths: Sequence[Path], texts: Sequence[str], label: str, split: str
) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """The rows of a split's files that have a label and a text; notes on dropped rows and on how files were read.

    Raises UserError naming file, line and what was expected.
    """
    rows: list[Line] = []
    notes: list[str] = []
    for path in paths:
        read, more = _read_file(path, texts, label, split)
        rows += read
        notes += more
    return tuple(rows), tuple(notes)


def _read_file(path: Path, texts: Sequence[str], label: str, split: str) -> tuple[list[Line], list[str]]:
    table = open_table(path)
    first = next(table.rows, None)
    if first is None:
        raise UserError(f"{path}: empty file, expected a header with {', '.join((*texts, label))}")
    header = [str(name).strip() for name in first[1]]
    for name in (*texts, label):
        if name not in header:
            error = build_unknown_error(f"column in the header of {path}:", name, header)
            raise UserError(f"{error}; the first row must name the columns") if first[0] else error
        if header.count(name) > 1:
            raise UserError(f"{path}: {header.count(name)} columns are named '{name}'; rename all but one of them")
    places, label_place = [header.index(name) for name in texts], header.index(label)
    rows: list[Line] = []
    dropped: Counter[str] = Counter()
    absent: Counter[str] = Counter()
    for number, cells in table.rows:
        row = _parse_line(table, number, cells, header, places, label_place)
        if isinstance(row, str):
            dropped[row] += 1
            continue
        rows.append(row)
        absent.update(header[place] for place in places if cells[place] is None or cells[place] != cells[place])
    if not rows and not dropped:
        raise UserError(f"{path}: no rows below the header")
    # Some rows lack a label in many files; if most do, the user has probably named another column.
    if dropped.total() > len(rows):
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise UserError(
            f"{path}: {dropped.total()} of {dropped.total() + len(rows)} rows cannot be used ({reasons}); "
            f"are --text {'+'.join(texts)} and --label {label} the right columns?"
        )
    notes = [f"dropped: {split}: {_format_count(count)} of {path.name} {reason}" for reason, count in dropped.items()]
    notes += [
        f"read: {_format_count(count)} of {path.name} without '{name}' have an empty text"
        for name, count in absent.items()
    ]
    return rows, [*table.notes, *notes]


def _format_count(count: int) -> str:
    return f"{count} row{'s' * (count > 1)}"


def _parse_line(
    table: DataTable, number: int, cells: Sequence[Any], header: Sequence[str], places: Sequence[int], own: int
) -> Line | str:
    """The row, or the reason for dropping it."""
    if len(cells) != len(header):
        raise table.error(number, f"{len(cells)} columns, expected {len(header)} ({', '.join(header)})")
    texts = tuple(table.text(number, header[place], cells[place]) for place in places)
    label = table.text(number, header[own], cells[own]).strip()
    # Files that were joined by `cat` repeat their header.
    if label == header[own] and all(text.strip() == header[place] for text, place in zip(texts, places, strict=True)):
        return "that repeat the header"
    if label in MISSING:
        return f"without a label ('{label}')" if label else "without a label"
    if not any(text.strip() for text in texts):
        return "without a text"
    return Line(f"{table.name} {table.unit} {number}", texts, label)


Naming = Callable[[str], str]
"""Written label -> name of its class or number; unknown labels do not change."""


def choose_naming(lines: Sequence[Line], asked: LabelKind | None) -> Naming:
    """A function that gives one name to all spellings of one value, in all files.

    Numbers are compared by value: 0, 0.0 and 0e0 are one. So are booleans: true, True and 1. Raises UserError for
    labels that may or may not be one value.
    """
    numbers = {line.label: parse_number(line.label) for line in lines}
    values = {value for value in numbers.values() if value is not None}
    if all(label.casefold() in BOOLEANS for label in numbers):
        return _format_boolean_name
    # Files of several writers may mix 1 and true.
    if values <= set(BOOLEANS.values()) and all(_parse_value(label) is not None for label in numbers):
        return _format_binary_name
    for line in lines:
        value = numbers[line.label]
        if math.isinf(math.inf if value is None and line.label.strip("+-").casefold() in INFINITE else value or 0):
            raise UserError(f"{line.where}: label '{line.label}' is not finite; correct it or remove the row")
    if all(value is not None for value in numbers.values()):
        return _format_number_name
    _check_distinct(lines, asked)
    return str


INFINITE = ("inf", "infinity")


def _parse_value(label: str) -> Decimal | None:
    """The number or boolean (0, 1) that a label is written as; None for other text."""
    number = parse_number(label)
    return BOOLEANS.get(label.casefold()) if number is None else number


def _format_boolean_name(label: str) -> str:
    value = _parse_value(label)
    return label if value not in BOOLEANS.values() else str(bool(value))


def _format_binary_name(label: str) -> str:
    value = _parse_value(label)
    return label if value is None else format_number(value)


def _format_number_name(label: str) -> str:
    value = parse_number(label)
    return label if value is None else format_number(value)


def _check_distinct(lines: Sequence[Line], asked: LabelKind | None) -> None:
    """Raise UserError if labels differ only in case, spaces or letter forms, or are numbers with separators."""
    labels = {line.label: line for line in lines}
    written = [label for label in labels if SEPARATED.fullmatch(label)]
    if (
        written
        and asked is None
        and all(SEPARATED.fullmatch(label) or parse_number(label) is not None for label in labels)
    ):
        raise UserError(
            f"{labels[written[0]].where}: label '{written[0]}' is a number with separators, which can be read in two "
            f"ways; write 0.72 for 0,72 and 1000 for 1,000, or give --labels class"
        )
    labels_by_key: dict[object, str] = {}
    for label, line in labels.items():
        value = _parse_value(label)
        key = " ".join(unicodedata.normalize("NFKC", label).casefold().split()) if value is None else value
        if (other := labels_by_key.setdefault(key, label)) != label:
            raise UserError(f"{line.where}: labels '{other}' and '{label}' differ only in spelling; use one spelling")


def rename_labels(lines: Sequence[Line], name: Naming) -> tuple[Line, ...]:
    """The lines with their labels replaced by the names that `choose_naming` gives them."""
    return tuple(dataclasses.replace(line, label=name(line.label)) for line in lines)


def choose_label_kind(lines: Sequence[Line], asked: LabelKind | None) -> LabelKind:
    """`class` or `number`: numbers if every label is one and they have many values or are not whole."""
    values = [parse_number(line.label) for line in lines]
    if asked == "number":
        for line, value in zip(lines, values, strict=True):
            if value is None:
                raise UserError(f"{line.where}: label '{line.label}', expected a number, as --labels number asks")
    if asked is not None:
        return asked
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "class"
    return "number" if len(set(numbers)) > MANY or any(float(value) % 1 for value in numbers) else "class"


def list_classes(path: Path, lines: Sequence[Line]) -> tuple[str, ...]:
    """The classes in order, by value if all are numbers. Raises UserError for one class, or nearly a class per row."""
    names = {line.label for line in lines}
    if len(names) == 1:
        raise UserError(
            f"{path}: one label only, '{names.pop()}'; a task needs two or more: is --label the right column?"
        )
    # Nearly one label per row: an id or a text was named as the label.
    if len(names) * 2 > len(lines) or len(names) > MOST_CLASSES:
        raise UserError(
            f"{path}: {len(names)} labels in {len(lines)} rows; expected classes of several rows: is --label the right "
            f"column? Numbers are read with --labels number"
        )
    numbers = {name: parse_number(name) for name in names}
    if all(value is not None for value in numbers.values()):
        return tuple(sorted(names, key=lambda name: (numbers[name], name)))
    return tuple(sorted(names))


def build_examples(lines: Sequence[Line], split: str, classes: Sequence[str]) -> tuple[Example, ...]:
    """Examples with class ids, or with numbers if there are no classes. Raises UserError for an unknown label."""
    ids = {name: number for number, name in enumerate(classes)}
    examples = []
    for n, line in enumerate(lines):
        number = None if classes else parse_number(line.label)
        value = ids.get(line.label) if number is None else float(number)
        if value is None or not math.isfinite(value):
            allowed = ", ".join(classes) if classes else "a number"
            raise UserError(f"{line.where}: label '{line.label}' of {split}, expected {allowed} as in train")
        examples.append(Example(f"{split}/{n}", line.texts, value))
    return tuple(examples)


def split_off_dev(lines: Sequence[Line], classes: Sequence[str]) -> tuple[list[Line], list[Line]]:
    """Train and dev rows, in the file's order. Dev is a fifth of each label's rows (at most 2,000 in all), seed 0.

    A label with two or more rows has one in each part.
    """
    # Imported here, because the command line imports all suites to list their options.
    import numpy as np

    rng = np.random.default_rng(0)
    share = min(DEV_SHARE, MOST_DEV / len(lines))
    groups: list[list[int]] = []
    for name in classes:
        groups.append([n for n, line in enumerate(lines) if line.label == name])
    # Numbers have no classes to stratify by.
    if not classes:
        groups.append(list(range(len(lines))))
    dev_rows: set[int] = set()
    for group in groups:
        count = min(len(group) - 1, max(1, round(len(group) * share)))
        dev_rows.update(int(n) for n in rng.permutation(group)[:count])
    return [x for n, x in enumerate(lines) if n not in dev_rows], [x for n, x in enumerate(lines) if n in dev_rows]
