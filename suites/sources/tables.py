"""Files as rows of cells: TSV, CSV (also with semicolons, tabs or bars), JSON arrays, JSON lines, Parquet.

    read_content (decompressed bytes) -> a reader by extension -> DataTable (rows of cells, header first)

Cells keep their type: text in TSV and CSV, the file's own types in JSON and Parquet. `DataTable.text` converts the
cells that are used, so that a list or an object in another column does no harm.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import decimal
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any, Literal

from harness.core.errors import UserError, build_unknown_error
from suites.sources.content import COMPRESSED, Content, decode_text, get_suffix, read_content, split_lines
from suites.sources.delimiters import DELIMITERS, choose_delimiter, iterate_lines, read_quoted_rows

TableRows = Iterator[tuple[int, Sequence[Any]]]
Unit = Literal["line", "row"]

SCALARS = (bool, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A cell, or a whole column, that a library cannot convert; refused only if it is used."""

    reason: str


@dataclasses.dataclass(frozen=True)
class DataTable:
    """A file's rows as (number, cells), header first; numbers are lines of a text file, or rows of an array or Parquet.

    `notes` say how the file was read if its extension leaves that open.
    """

    name: str
    rows: TableRows
    unit: Unit = "line"
    notes: tuple[str, ...] = ()

    def error(self, number: int, what: str) -> UserError:
        """The error for one row, with file and line."""
        return UserError(f"{self.name} {self.unit} {number}: {what}")

    def text(self, number: int, column: str, cell: Any) -> str:
        """A cell as text, '' for null and nan. Raises UserError for a list, an object or invalid text."""
        try:
            return format_cell(cell)
        except ValueError as error:
            raise self.error(number, f"'{column}' {error}") from error


def format_cell(cell: Any) -> str:
    """A single value as text, '' for null and nan. Raises ValueError that names what else it is."""
    if isinstance(cell, str):
        if "\0" in cell:
            raise ValueError("has a null character; remove it")
        if not cell.isascii() and any("\ud800" <= letter <= "\udfff" for letter in cell):
            raise ValueError("has half of a surrogate pair, which is no character; remove it")
        return cell
    # nan differs from itself.
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

    `only_commas`: a CSV file without a header, from which the delimiter could be inferred.
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
    """Columns split by the extension's delimiter, or by the only one that gives all rows the header's width."""
    text = decode_text(content.name, content.data)
    usual = "," if content.suffix == ".csv" else "\t"
    delimiter = choose_delimiter(text, usual)
    table = _read_tsv(content.name, text) if delimiter == "\t" else _read_csv(content.name, text, delimiter)
    if delimiter == usual:
        return table
    note = f"read: {_strip_folders(content.name)} has {DELIMITERS[delimiter]} between its columns"
    return dataclasses.replace(table, notes=(note, *table.notes))


def _read_csv(name: str, text: str, delimiter: str) -> DataTable:
    def rows() -> TableRows:
        reader = csv.reader(iterate_lines(text), delimiter=delimiter, strict=True)
        try:
            yield from ((reader.line_num, cells) for cells in reader if cells)
        except csv.Error as error:
            raise UserError(f"{name} line {reader.line_num}: expected CSV: {error}") from error

    return DataTable(name, rows())


def _read_tsv(name: str, text: str) -> DataTable:
    """Tab-separated rows. Quotes are text, as in GLUE's files, unless the file is exactly what a CSV writer gives.

    Blank lines are skipped.
    """
    if '"' in text and (quoted := read_quoted_rows(text)) is not None:
        return DataTable(
            name, iter(quoted), notes=(f"read: the quotes around cells of {_strip_folders(name)} are not text",)
        )
    lines = enumerate(split_lines(text), 1)
    return DataTable(name, ((number, line.split("\t")) for number, line in lines if line))


def _strip_folders(name: str) -> str:
    """The name without folders: notes are stored in records, which are published."""
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
    # The usual mistake: one object, written over several lines by a pretty printer.
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
    """An object whose keys occur once; json.loads alone would keep the last of two."""
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
        for number, item in objects:
            yield number, [item.get(key) for key in header]

    return DataTable(content.name, rows(), unit)


def _read_parquet(content: Content) -> DataTable:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content.data))
        # Decodes the names, which may fail.
        names = table.column_names
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{content.name}: expected a Parquet file: {_format_error(error)}") from error
    return build_table(
        content.name, names, [_convert_values(table.column(place)) for place in range(table.num_columns)]
    )


def _convert_values(column: Any) -> Sequence[Any]:
    """The values of an Arrow column; Unreadable for a column of text that is not UTF-8, or of times out of range."""
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
