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

from harness.core.errors import UserError, build_unknown_error
from suites.sources.content import COMPRESSED, Content, decode_text, get_suffix, read_content, split_lines

TableRows = Iterator[tuple[int, Sequence[Any]]]
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
class DataTable:
    """A file's rows as (number, cells), header first; numbers are lines of a text file, or rows of an array or Parquet.

    `notes` say how the file was read where its extension leaves that open.
    """

    name: str
    rows: TableRows
    unit: Unit = "line"
    notes: tuple[str, ...] = ()

    def error(self, number: int, what: str) -> UserError:
        return UserError(f"{self.name} {self.unit} {number}: {what}")

    def text(self, number: int, column: str, cell: Any) -> str:
        """A cell as text, '' for null and nan. Raises UserError for what is no single value, or no valid text."""
        try:
            return format_cell(cell)
        except ValueError as error:
            raise self.error(number, f"'{column}' {error}") from error


def format_cell(cell: Any) -> str:
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


def open_table(path: Traversable, *, only_commas: bool = False) -> DataTable:
    """The rows of a file, compressed or not, read by its extension. Raises UserError for a file that cannot be read.

    `only_commas`: a CSV file whose first row is no header, so the delimiter cannot be told from it.
    """
    if get_suffix(path.name) not in READERS and not path.name.lower().endswith(".zip"):
        raise _make_extension_error(str(path), get_suffix(path.name))
    content = read_content(path)
    if content.suffix not in READERS:
        raise _make_extension_error(content.name, content.suffix)
    if only_commas and content.suffix == ".csv":
        return _read_csv(content.name, decode_text(content.name, content.data), ",")
    return READERS[content.suffix](content)


def _make_extension_error(path: str, suffix: str) -> UserError:
    error = build_unknown_error(f"extension of data file '{path}'", suffix, READERS)
    return UserError(f"{error}; each may be compressed ({', '.join(COMPRESSED)})")


def _read_delimited(content: Content) -> DataTable:
    """Columns parted as the extension says, or by the one delimiter that gives all rows the header's width."""
    text = decode_text(content.name, content.data)
    usual = "," if content.suffix == ".csv" else "\t"
    delimiter = _choose_delimiter(text, usual)
    table = _read_tsv(content.name, text) if delimiter == "\t" else _read_csv(content.name, text, delimiter)
    if delimiter == usual:
        return table
    note = f"read: {_strip_folders(content.name)} has {DELIMITERS[delimiter]} between its columns"
    return dataclasses.replace(table, notes=(note, *table.notes))


def _choose_delimiter(text: str, usual: str) -> str:
    """`usual` where it parts the header and suits the rows, else the only other one that does, else `usual`."""
    widths = {delimiter: _count_columns(text, delimiter) for delimiter in DELIMITERS}
    suits = [d for d, counts in widths.items() if counts and counts[0] > 1 and len(set(counts)) == 1]
    if usual in suits or len(suits) != 1:
        return usual
    return suits[0]


def _count_columns(text: str, delimiter: str) -> list[int]:
    """Columns of the first rows; none where the text cannot be read with this delimiter."""
    if delimiter == "\t":
        head = itertools.islice((line for line in io.StringIO(text, newline="\n") if line.strip()), SAMPLE)
        plain = [line.count(delimiter) + 1 for line in head]
        if len(set(plain)) == 1:  # quotes are text
            return plain
    try:
        rows = (cells for cells in csv.reader(_iterate_lines(text), delimiter=delimiter, strict=True) if cells)
        return [len(cells) for cells in itertools.islice(rows, SAMPLE)]
    except csv.Error:
        return []


def _iterate_lines(text: str) -> Iterator[str]:
    r"""Lines with their ends; only a newline ends one, or a carriage return where there is no newline."""
    csv.field_size_limit(2**31 - 1)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return io.StringIO(text, newline="\n")


def _read_csv(name: str, text: str, delimiter: str) -> DataTable:
    def rows() -> TableRows:
        reader = csv.reader(_iterate_lines(text), delimiter=delimiter, strict=True)
        try:
            yield from ((reader.line_num, cells) for cells in reader if cells)
        except csv.Error as error:
            raise UserError(f"{name} line {reader.line_num}: expected CSV: {error}") from error

    return DataTable(name, rows())


def _read_tsv(name: str, text: str) -> DataTable:
    """Tab-separated. Quotes are text, as in GLUE's files, unless the file is just what a CSV writer gives.

    Blank lines are skipped.
    """
    if '"' in text and (quoted := _read_quoted_rows(text)) is not None:
        return DataTable(
            name, iter(quoted), notes=(f"read: the quotes around cells of {_strip_folders(name)} are not text",)
        )
    lines = enumerate(split_lines(text), 1)
    return DataTable(name, ((number, line.split("\t")) for number, line in lines if line))


def _read_quoted_rows(text: str) -> list[tuple[int, list[str]]] | None:
    """Rows of a tab-separated text that quotes cells by one of the usual rules; None where it does not.

    It does if writing the rows by that rule gives the text again, which loose quotes within texts rule out.
    """
    lines = list(_iterate_lines(text))
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
    for must_quote in (_is_special, _is_special_or_comma, _is_not_number, _always):
        again = "\n".join("\t".join(_quote_cell(c) if must_quote(c) else c for c in cells) for _, cells in rows)
        if "\n".join(line.rstrip("\r") for line in again.split("\n") if line.strip("\r")) == written:
            return rows
    return None


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


def _strip_folders(name: str) -> str:
    """The name without folders: notes are stored in records, which are passed on."""
    return name.replace("\\", "/").rpartition("/")[2]


def read_objects(content: Content) -> tuple[Unit, list[tuple[int, dict[str, Any]]]]:
    """The objects of a JSON array, or of JSON lines, with their rows or lines; either may have either extension.

    Raises UserError naming file, line and what was expected.
    """
    name, text = content.name, decode_text(content.name, content.data)
    if text.lstrip().startswith("["):
        items = _parse_json(name, text)
        return "row", [(n, _check_object(f"{name} row {n}", item)) for n, item in enumerate(items, 1)]
    lines = [(number, line) for number, line in enumerate(split_lines(text), 1) if line.strip()]
    if lines and lines[0][1].strip() == "{":
        raise UserError(f"{name}: one object over several lines, expected a JSON array of objects or an object a line")
    return "line", [(n, _check_object(f"{name} line {n}", _parse_json(f"{name} line {n}", line))) for n, line in lines]


def _parse_json(where: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_build_distinct)
    except RecursionError as error:
        raise UserError(f"{where}: expected JSON: nested too deeply; give flat objects") from error
    except json.JSONDecodeError as error:
        line = f" at line {error.lineno}" if "\n" in text else ""
        raise UserError(f"{where}: expected a JSON object: {error.msg}{line}") from error
    except ValueError as error:
        raise UserError(f"{where}: expected a JSON object: {error}") from error


def _build_distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' occurs twice; keep one")
    return mapping


def _check_object(where: str, item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(item).__name__}")
    return item


def _read_json(content: Content) -> DataTable:
    """The header has the keys of all objects, in order of appearance; a key that an object lacks is null in its row."""
    unit, objects = read_objects(content)
    header = list(dict.fromkeys(key for _, item in objects for key in item))

    def rows() -> TableRows:
        if objects:
            yield 0, header
        yield from ((number, [item.get(key) for key in header]) for number, item in objects)

    return DataTable(content.name, rows(), unit)


def _read_parquet(content: Content) -> DataTable:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content.data))
        names = table.column_names  # decodes them
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{content.name}: expected a Parquet file: {_format_error(error)}") from error
    return build_table(
        content.name, names, [_convert_values(table.column(place)) for place in range(table.num_columns)]
    )


def _convert_values(column: Any) -> Sequence[Any]:
    """The values of an Arrow column; a column of text that is no UTF-8, or of times out of range, is unreadable."""
    import pyarrow

    try:
        values: list[Any] = column.to_pylist()
    except (pyarrow.ArrowException, ValueError, OverflowError, TypeError, NotImplementedError) as error:
        return [Unreadable(_format_error(error))] * len(column)
    return [float(value) if type(value).__name__ == "float16" else value for value in values]


def _format_error(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def build_table(name: str, header: Sequence[str], columns: Sequence[Sequence[Any]]) -> DataTable:
    """A table from columns of equal length."""

    def rows() -> TableRows:
        yield 0, list(header)
        yield from enumerate(map(list, zip(*columns, strict=True)), 1)

    return DataTable(name, rows(), "row")


READERS: Mapping[str, Callable[[Content], DataTable]] = {
    ".tsv": _read_delimited,
    ".txt": _read_delimited,
    ".csv": _read_delimited,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".ndjson": _read_json,
    ".parquet": _read_parquet,
}
