"""Examples from the rows of a file, with checks of column count, labels and texts."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from harness.core.errors import UserError
from harness.core.method import Example, Label
from suites.sources.layouts import Columns, FileLayout
from suites.sources.scalars import format_number, parse_number
from suites.sources.tables import DataTable, TableRows

MOST_SIMILAR = 5
"""Highest similarity in STS-B: texts that mean the same."""


@dataclasses.dataclass(frozen=True)
class Header:
    """Columns of a file: width of a row, places of texts and label, and names for error messages."""

    width: int
    texts: tuple[int, ...]
    label: int
    names: tuple[str, ...]


def read_examples(table: DataTable, layout: FileLayout, split: str, start: int = 0) -> tuple[list[Example], list[str]]:
    """Examples with ids `split/start`, `split/start+1`, ..., and notes on dropped rows and on the scale of labels.

    Raises UserError naming file, line and what was expected.
    """
    header, rows = _find_header(table, layout)
    parse = _make_label_parser(layout)
    examples: list[Example] = []
    broken: list[UserError] = []
    unlabelled = 0
    for number, cells in rows:
        if len(cells) != header.width:
            expected = f"{len(cells)} columns, expected {header.width} ({', '.join(header.names)})"
            broken.append(table.error(number, expected))
            continue
        written = table.text(number, header.names[header.label], cells[header.label])
        label = parse(written)
        if label is None and written == layout.unlabelled:
            unlabelled += 1
            continue
        if label is None:
            raise table.error(number, f"label '{written}', expected {_describe_allowed(layout)}")
        texts = tuple([table.text(number, header.names[place], cells[place]) for place in header.texts])
        if not any(texts) or _is_absent(cells, header):
            named = ", ".join(header.names[place] for place in header.texts)
            raise table.error(number, f"empty text, expected words under {named}")
        examples.append(Example(f"{split}/{start + len(examples)}", texts, label))
    # An official file has a few rows that its own release broke; more of them means a damaged file.
    if len(broken) > layout.broken * len(examples):
        raise broken[0]
    if not examples:
        raise UserError(f"{table.name}: no rows, expected columns {', '.join(header.names)}")
    dropped = _describe_dropped(split, layout, unlabelled, len(broken))
    return examples, [*table.notes, *dropped, *_scale_notes(split, layout, examples)]


def _is_absent(cells: Sequence[Any], header: Header) -> bool:
    """Whether a text is null or missing, which in a sentence pair would otherwise become an empty text."""
    # nan, for a missing cell, differs from itself.
    return any(cells[place] is None or cells[place] != cells[place] for place in header.texts)


def _find_header(table: DataTable, layout: FileLayout) -> tuple[Header, TableRows]:
    """Columns by the names in the first row; by `layout.bare` if the first row is no header but data."""
    first = next(table.rows, None)
    if first is None:
        raise UserError(f"{table.name}: empty file, expected columns {', '.join(layout.columns[0].names)}")
    names = [str(name).strip() for name in first[1]]
    for columns in layout.columns:
        if set(columns.names) <= set(names):
            if twice := [name for name in columns.names if names.count(name) > 1]:
                raise table.error(max(first[0], 1), f"{names.count(twice[0])} columns named '{twice[0]}'; rename one")
            return _find_columns(columns, tuple(names)), table.rows
    if layout.bare:
        return _find_columns(layout.columns[0], layout.bare), itertools.chain([first], table.rows)
    wanted = " or ".join(f"({', '.join(columns.names)})" for columns in layout.columns)
    raise table.error(max(first[0], 1), f"header ({', '.join(names)[:80]}), expected columns {wanted}")


def _find_columns(columns: Columns, names: tuple[str, ...]) -> Header:
    return Header(len(names), tuple(names.index(name) for name in columns.texts), names.index(columns.label), names)


def _make_label_parser(layout: FileLayout) -> Callable[[str], Label | None]:
    """Function from a written label to its class id, whatever the case; a class id may be a number: 1.0 is 1."""
    if not layout.labels:
        return _parse_similarity
    by_name = {name.casefold(): label for name, label in layout.labels.items()}

    def parse(written: str) -> Label | None:
        label = layout.labels.get(written)
        if label is None:
            number = parse_number(written.strip())
            label = by_name.get(written.strip().casefold() if number is None else format_number(number))
        return label

    return parse


def _parse_similarity(written: str) -> float | None:
    """A similarity from 0 to 5, else None; rounded, as the hub stores float32 (3.8 is read as 3.7999999)."""
    number = parse_number(written.strip())
    value = None if number is None else round(float(number), 5)
    return value if value is not None and 0 <= value <= MOST_SIMILAR else None


def _scale_notes(split: str, layout: FileLayout, examples: Sequence[Example]) -> list[str]:
    """A note if no similarity is above 1: correlations do not change, but the head learns another scale."""
    if layout.labels:
        return []
    numbers = [float(e.label) for e in examples]
    lowest, highest = min(numbers), max(numbers)
    if highest > 1:
        return []
    return [
        f"labels: {split}: numbers from {lowest:g} to {highest:g}, which is the scale of the regression head; "
        f"{layout.folder} has 0 to {MOST_SIMILAR}"
    ]


def _describe_allowed(layout: FileLayout) -> str:
    return "one of " + ", ".join(layout.labels) if layout.labels else f"a number from 0 to {MOST_SIMILAR}"


def _describe_dropped(split: str, layout: FileLayout, unlabelled: int, broken: int) -> list[str]:
    counts = {f"labelled '{layout.unlabelled}'": unlabelled, "with a wrong number of columns": broken}
    return [f"dropped: {split}: {count} row{'s' * (count > 1)} {reason}" for reason, count in counts.items() if count]
