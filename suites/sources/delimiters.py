"""Delimiters and quotes of text tables: which delimiter a file has, and whether its quotes are text."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterator, Sequence

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SAMPLE = 100
"""Rows that must have the header's width before a delimiter is used that the file's extension does not name."""


def choose_delimiter(text: str, usual: str) -> str:
    """`usual` if it splits the header and fits the rows, else the only other delimiter that does, else `usual`."""
    widths = {delimiter: _count_columns(text, delimiter) for delimiter in DELIMITERS}
    suits = [d for d, counts in widths.items() if counts and counts[0] > 1 and len(set(counts)) == 1]
    if usual in suits or len(suits) != 1:
        return usual
    return suits[0]


def _count_columns(text: str, delimiter: str) -> list[int]:
    """Number of columns of the first rows; none if the text cannot be read with this delimiter."""
    if delimiter == "\t":
        head = itertools.islice((line for line in io.StringIO(text, newline="\n") if line.strip()), SAMPLE)
        plain = [line.count(delimiter) + 1 for line in head]
        # GLUE's TSV files have loose quotes, which csv would read as the start of a quoted cell.
        if len(set(plain)) == 1:
            return plain
    try:
        rows = (cells for cells in csv.reader(iterate_lines(text), delimiter=delimiter, strict=True) if cells)
        return [len(cells) for cells in itertools.islice(rows, SAMPLE)]
    except csv.Error:
        return []


def iterate_lines(text: str) -> Iterator[str]:
    r"""Lines with their ends; only a newline ends one, or a carriage return where there is no newline."""
    # csv refuses cells above 128 KiB by default; documents are longer.
    csv.field_size_limit(2**31 - 1)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return io.StringIO(text, newline="\n")


def read_quoted_rows(text: str) -> list[tuple[int, list[str]]] | None:
    """(line, cells) of a tab-separated text that quotes cells by one of the usual rules, else None.

    A rule holds if writing the rows by it gives the text again, which loose quotes within texts rule out.
    """
    lines = list(iterate_lines(text))
    if not any(line.startswith('"') or '\t"' in line for line in lines):
        return None
    reader = csv.reader(lines, delimiter="\t", strict=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error:
        return None
    if len({len(cells) for _, cells in rows}) != 1:
        return None
    written = "\n".join(line.rstrip("\r\n") for line in lines if line.strip("\r\n"))
    # Writers quote special cells only, those with a comma too, all but numbers, or all cells.
    for must_quote in (_is_special, _is_special_or_comma, _is_not_number, _always):
        again = "\n".join(_join_cells(cells, must_quote) for _, cells in rows)
        if "\n".join(line.rstrip("\r") for line in again.split("\n") if line.strip("\r")) == written:
            return rows
    return None


def _join_cells(cells: Sequence[str], must_quote: Callable[[str], bool]) -> str:
    """A line of tab-separated cells, quoted by a rule."""
    return "\t".join(_quote_cell(cell) if must_quote(cell) else cell for cell in cells)


def _quote_cell(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def _is_special(cell: str) -> bool:
    return any(mark in cell for mark in '"\t\n\r')


def _is_special_or_comma(cell: str) -> bool:
    return "," in cell or _is_special(cell)


def _is_not_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return True
    return False


def _always(cell: str) -> bool:
    return True
