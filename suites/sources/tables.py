"""Files as rows of cells: TSV, CSV (also with semicolons, tabs or bars), JSON arrays, JSON lines, Parquet.

Cells keep their type: text of TSV and CSV; what JSON and Parquet have otherwise. `Table.text` makes text of a cell
that is used, so a list or an object in another column is nobody's concern.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import decimal
import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any, Literal

from harness.errors import UserError, unknown
from suites.sources.content import COMPRESSED, Content, lines_of, read_content, suffix_of, text_of

Rows = Iterator[tuple[int, Sequence[Any]]]
Unit = Literal["line", "row"]

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SAMPLE = 100
"""Rows that must have the header's width for a delimiter to be taken that the file's extension does not name."""
SCALARS = (bool, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A cell, or a whole column, that a library cannot turn into a value; refused only where it is used."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A file's rows as (number, cells), header first; numbers are lines of a text file, or rows of an array or Parquet.

    `notes` say how the file was read where its extension leaves that open.
    """

    name: str
    rows: Rows
    unit: Unit = "line"
    notes: tuple[str, ...] = ()

    def error(self, number: int, what: str) -> UserError:
        return UserError(f"{self.name} {self.unit} {number}: {what}")

    def text(self, number: int, column: str, cell: Any) -> str:
        """A cell as text, '' for null and nan. Raises UserError for what is no single value, or no valid text."""
        try:
            return text_of_cell(cell)
        except ValueError as error:
            raise self.error(number, f"'{column}' {error}") from error


def text_of_cell(cell: Any) -> str:
    """A single value as text, '' for null and nan. Raises ValueError that says what it is instead."""
    if isinstance(cell, str):
        if "\0" in cell:
            raise ValueError("has a null character; remove it")
        if not cell.isascii() and any("\ud800" <= letter <= "\udfff" for letter in cell):
            raise ValueError("has half of a surrogate pair, which is no character; remove it")
        return cell
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, SCALARS):
        return str(cell)
    if isinstance(cell, Unreadable):
        raise ValueError(f"cannot be read: {cell.reason}")
    kind = {"dict": "an object", "list": "a list", "tuple": "a list", "bytes": "binary data"}
    raise ValueError(
        f"is {kind.get(type(cell).__name__, type(cell).__name__)}, expected text or a number; write one value a cell"
    )


def open_table(path: Traversable, *, only_commas: bool = False) -> Table:
    """The rows of a file, compressed or not, read by its extension. Raises UserError for a file that cannot be read.

    `only_commas`: a CSV file whose first row is no header, so the delimiter cannot be told from it.
    """
    if suffix_of(path.name) not in READERS and not path.name.lower().endswith(".zip"):
        raise _unknown_extension(str(path), suffix_of(path.name))
    content = read_content(path)
    if content.suffix not in READERS:
        raise _unknown_extension(content.name, content.suffix)
    if only_commas and content.suffix == ".csv":
        return _csv(content.name, text_of(content.name, content.data), ",")
    return READERS[content.suffix](content)


def _unknown_extension(path: str, suffix: str) -> UserError:
    error = unknown(f"extension of data file '{path}'", suffix, READERS)
    return UserError(f"{error}; each may be compressed ({', '.join(COMPRESSED)})")


def _delimited(content: Content) -> Table:
    """Columns parted as the extension says, or by the one delimiter that gives all rows the header's width."""
    text = text_of(content.name, content.data)
    usual = "," if content.suffix == ".csv" else "\t"
    delimiter = _delimiter(text, usual)
    table = _tsv(content.name, text) if delimiter == "\t" else _csv(content.name, text, delimiter)
    if delimiter == usual:
        return table
    note = f"read: {_base(content.name)} has {DELIMITERS[delimiter]} between its columns"
    return dataclasses.replace(table, notes=(note, *table.notes))


def _delimiter(text: str, usual: str) -> str:
    """`usual` where it parts the header and suits the rows, else the only other one that does, else `usual`."""
    widths = {delimiter: _widths(text, delimiter) for delimiter in DELIMITERS}
    suits = [d for d, found in widths.items() if found and found[0] > 1 and len(set(found)) == 1]
    if usual in suits or len(suits) != 1:
        return usual
    return suits[0]


def _widths(text: str, delimiter: str) -> list[int]:
    """Columns of the first rows; none where the text cannot be read with this delimiter."""
    if delimiter == "\t":
        head = itertools.islice((line for line in io.StringIO(text, newline="\n") if line.strip()), SAMPLE)
        plain = [line.count(delimiter) + 1 for line in head]
        if len(set(plain)) == 1:  # quotes are text
            return plain
    try:
        rows = (cells for cells in csv.reader(_ended_lines(text), delimiter=delimiter, strict=True) if cells)
        return [len(cells) for cells in itertools.islice(rows, SAMPLE)]
    except csv.Error:
        return []


def _ended_lines(text: str) -> Iterator[str]:
    r"""Lines with their ends; only a newline ends one, or a carriage return where there is no newline."""
    csv.field_size_limit(2**31 - 1)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return io.StringIO(text, newline="\n")


def _csv(name: str, text: str, delimiter: str) -> Table:
    def rows() -> Rows:
        reader = csv.reader(_ended_lines(text), delimiter=delimiter, strict=True)
        try:
            yield from ((reader.line_num, cells) for cells in reader if cells)
        except csv.Error as error:
            raise UserError(f"{name} line {reader.line_num}: expected CSV: {error}") from error

    return Table(name, rows())


def _tsv(name: str, text: str) -> Table:
    """Tab-separated. Quotes are text, as in GLUE's files, unless the file is just what a CSV writer gives.

    Blank lines are skipped.
    """
    if '"' in text and (quoted := _quoted_rows(text)) is not None:
        return Table(name, iter(quoted), notes=(f"read: the quotes around cells of {_base(name)} are not text",))
    lines = enumerate(lines_of(text), 1)
    return Table(name, ((number, line.split("\t")) for number, line in lines if line))


def _quoted_rows(text: str) -> list[tuple[int, list[str]]] | None:
    """Rows of a tab-separated text that quotes cells by one of the usual rules; None where it does not.

    It does if writing the rows by that rule gives the text again, which loose quotes within texts rule out.
    """
    lines = list(_ended_lines(text))
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
    for must_quote in (_minimal, _spreadsheet, _not_a_number, _always):
        again = "\n".join("\t".join(_quoted(c) if must_quote(c) else c for c in cells) for _, cells in rows)
        if "\n".join(line.rstrip("\r") for line in again.split("\n") if line.strip("\r")) == written:
            return rows
    return None


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def _minimal(cell: str) -> bool:
    return any(mark in cell for mark in '"\t\n\r')


def _spreadsheet(cell: str) -> bool:
    return "," in cell or _minimal(cell)


def _not_a_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return True
    return False


def _always(cell: str) -> bool:
    return True


def _base(name: str) -> str:
    """The name without folders: notes are stored in records, which are passed on."""
    return name.replace("\\", "/").rpartition("/")[2]


def read_objects(content: Content) -> tuple[Unit, list[tuple[int, dict[str, Any]]]]:
    """The objects of a JSON array, or of JSON lines, with their rows or lines; either may have either extension.

    Raises UserError naming file, line and what was expected.
    """
    name, text = content.name, text_of(content.name, content.data)
    if text.lstrip().startswith("["):
        items = _parsed(name, text)
        return "row", [(n, _object(f"{name} row {n}", item)) for n, item in enumerate(items, 1)]
    lines = [(number, line) for number, line in enumerate(lines_of(text), 1) if line.strip()]
    if lines and lines[0][1].strip() == "{":
        raise UserError(f"{name}: one object over several lines, expected a JSON array of objects or an object a line")
    return "line", [(n, _object(f"{name} line {n}", _parsed(f"{name} line {n}", line))) for n, line in lines]


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except RecursionError as error:
        raise UserError(f"{where}: expected JSON: nested too deeply; give flat objects") from error
    except json.JSONDecodeError as error:
        line = f" at line {error.lineno}" if "\n" in text else ""
        raise UserError(f"{where}: expected a JSON object: {error.msg}{line}") from error
    except ValueError as error:
        raise UserError(f"{where}: expected a JSON object: {error}") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' occurs twice; keep one")
    return made


def _object(where: str, item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(item).__name__}")
    return item


def _json(content: Content) -> Table:
    """The header has the keys of all objects, in order of appearance; a key that an object lacks is null in its row."""
    unit, objects = read_objects(content)
    header = list(dict.fromkeys(key for _, item in objects for key in item))

    def rows() -> Rows:
        if objects:
            yield 0, header
        yield from ((number, [item.get(key) for key in header]) for number, item in objects)

    return Table(content.name, rows(), unit)


def _parquet(content: Content) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content.data))
        names = table.column_names  # decodes them
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{content.name}: expected a Parquet file: {_first_line(error)}") from error
    return from_columns(content.name, names, [_values(table.column(place)) for place in range(table.num_columns)])


def _values(column: Any) -> Sequence[Any]:
    """The values of an Arrow column; a column of text that is no UTF-8, or of times out of range, is unreadable."""
    import pyarrow

    try:
        values: list[Any] = column.to_pylist()
    except (pyarrow.ArrowException, ValueError, OverflowError, TypeError, NotImplementedError) as error:
        return [Unreadable(_first_line(error))] * len(column)
    return [float(value) if type(value).__name__ == "float16" else value for value in values]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def from_columns(name: str, header: Sequence[str], columns: Sequence[Sequence[Any]]) -> Table:
    """A table from columns of equal length."""

    def rows() -> Rows:
        yield 0, list(header)
        yield from enumerate(map(list, zip(*columns, strict=True)), 1)

    return Table(name, rows(), "row")


READERS: Mapping[str, Callable[[Content], Table]] = {
    ".tsv": _delimited,
    ".txt": _delimited,
    ".csv": _delimited,
    ".json": _json,
    ".jsonl": _json,
    ".ndjson": _json,
    ".parquet": _parquet,
}
