"""Any table of texts and labels: columns by name, labels as classes or numbers, a dev part where none is given."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from harness.contracts import Example
from harness.errors import UserError, unknown
from suites.sources.tables import Table, open_table

MANY = 20
"""Labels that are whole numbers of more values than this are read as numbers; fewer are classes."""
DEV_SHARE, MOST_DEV = 0.2, 2000
MOST_CLASSES = 1000

Reading = Literal["class", "number"]


@dataclasses.dataclass(frozen=True)
class Line:
    """One row: where it stands, its texts and its label as written."""

    where: str
    texts: tuple[str, ...]
    label: str


def read_lines(path: Path, texts: Sequence[str], label: str) -> list[Line]:
    """The rows of a file. Raises UserError naming file, line and what was expected."""
    table = open_table(path)
    first = next(table.rows, None)
    if first is None:
        raise UserError(f"{path}: empty file, expected a header with {', '.join((*texts, label))}")
    header = [name.strip() for name in first[1]]
    for name in (*texts, label):
        if name not in header:
            raise unknown(f"column in the header of {path}:", name, header)
    places, own = [header.index(name) for name in texts], header.index(label)
    found = [_line(table, number, cells, header, places, own) for number, cells in table.rows]
    if not found:
        raise UserError(f"{path}: no rows below the header")
    return found


def _line(
    table: Table, number: int, cells: Sequence[str], header: Sequence[str], places: Sequence[int], own: int
) -> Line:
    if len(cells) != len(header):
        raise table.error(number, f"{len(cells)} columns, expected {len(header)} ({', '.join(header)})")
    texts = tuple(cells[place] for place in places)
    if not any(text.strip() for text in texts):
        raise table.error(number, f"empty text, expected words under {', '.join(header[place] for place in places)}")
    if not cells[own].strip():
        raise table.error(number, f"empty label, expected a value under {header[own]}")
    return Line(f"{table.name} {table.unit} {number}", texts, cells[own].strip())


def reading_of(lines: Sequence[Line], asked: Reading | None) -> Reading:
    """`class` or `number`: numbers where every label is one and they have many values or are not whole."""
    values = [_number(line.label) for line in lines]
    if asked == "number":
        for line, value in zip(lines, values, strict=True):
            if value is None:
                raise UserError(f"{line.where}: label '{line.label}', expected a number, as --labels number asks")
    if asked is not None:
        return asked
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "class"
    return "number" if len(set(numbers)) > MANY or any(value % 1 for value in numbers) else "class"


def classes_of(path: Path, lines: Sequence[Line]) -> tuple[str, ...]:
    """The labels in order, as numbers where all are. Raises UserError for one label, or a label of nearly each row."""
    names = {line.label for line in lines}
    if len(names) == 1:
        raise UserError(
            f"{path}: one label only, '{names.pop()}'; a task needs two or more: is --label the right column?"
        )
    if len(names) * 2 > len(lines) or len(names) > MOST_CLASSES:
        raise UserError(
            f"{path}: {len(names)} labels in {len(lines)} rows; expected classes of several rows: is --label the right "
            f"column? Numbers are read with --labels number"
        )
    numbers = {name: _number(name) for name in names}
    if all(value is not None for value in numbers.values()):
        return tuple(sorted(names, key=lambda name: (numbers[name], name)))
    return tuple(sorted(names))


def examples_of(lines: Sequence[Line], split: str, classes: Sequence[str]) -> tuple[Example, ...]:
    """Rows with class ids, or with numbers where there are no classes. Raises UserError for another label."""
    ids = {name: number for number, name in enumerate(classes)}
    made = []
    for n, line in enumerate(lines):
        value = ids.get(line.label) if classes else _number(line.label)
        if value is None:
            allowed = ", ".join(classes) if classes else "a number"
            raise UserError(f"{line.where}: label '{line.label}' of {split}, expected {allowed} as in train")
        made.append(Example(f"{split}/{n}", line.texts, value))
    return tuple(made)


def carve(lines: Sequence[Line], classes: Sequence[str]) -> tuple[list[Line], list[Line]]:
    """Train and dev rows: a fifth of each label's rows (2,000 in all at most), drawn with seed 0, in the file's order.

    A label of two rows or more has one in each part.
    """
    rng = np.random.default_rng(0)
    share = min(DEV_SHARE, MOST_DEV / len(lines))
    groups = [[n for n, line in enumerate(lines) if line.label == name] for name in classes] or [
        list(range(len(lines)))
    ]
    held: set[int] = set()
    for group in groups:
        count = min(len(group) - 1, max(1, round(len(group) * share)))
        held.update(int(n) for n in rng.permutation(group)[:count])
    return [x for n, x in enumerate(lines) if n not in held], [x for n, x in enumerate(lines) if n in held]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
