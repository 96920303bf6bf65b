"""Files as rows of text: TSV (quotes are data), CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Any, Literal

from harness.errors import UserError, unknown

Rows = Iterator[tuple[int, list[str]]]


@dataclasses.dataclass(frozen=True)
class Table:
    """A file's rows as (number, cells), header first; numbers are lines of a text file or rows of a Parquet file."""

    name: str
    rows: Rows
    unit: Literal["line", "row"] = "line"

    def error(self, number: int, what: str) -> UserError:
        return UserError(f"{self.name} {self.unit} {number}: {what}")


def open_table(path: Traversable) -> Table:
    """The rows of a file, read by its extension. Raises UserError for a file that cannot be read."""
    suffix = "." + path.name.rpartition(".")[2].lower()
    if suffix not in READERS:
        raise unknown(f"extension of data file '{path}'", suffix, READERS)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"data file '{path}' cannot be read: {error.strerror}; give the path of a file") from error
    return READERS[suffix](str(path), content)


def text_of(name: str, content: bytes) -> str:
    """UTF-8, with or without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name} line {line}: expected UTF-8 text, found byte 0x{error.object[error.start]:02x}"
        ) from error


def _tsv(name: str, content: bytes) -> Table:
    """Tab-separated; lines end at a newline only (texts may hold other separators); blank lines are skipped."""
    lines = text_of(name, content).split("\n")
    return Table(
        name, ((n, line.rstrip("\r").split("\t")) for n, line in enumerate(lines, 1) if line not in ("", "\r"))
    )


def _csv(name: str, content: bytes) -> Table:
    def rows() -> Rows:
        reader = csv.reader(io.StringIO(text_of(name, content), newline=""), strict=True)
        try:
            yield from ((reader.line_num, cells) for cells in reader if cells)
        except csv.Error as error:
            raise UserError(f"{name} line {reader.line_num}: expected CSV: {error}") from error

    return Table(name, rows())


def _jsonl(name: str, content: bytes) -> Table:
    """One object a line; the first object's keys are the header, a row without one of them is short."""

    def rows() -> Rows:
        header: list[str] = []
        for number, line in enumerate(text_of(name, content).split("\n"), 1):
            if not line.strip():
                continue
            item = _object(name, number, line)
            if not header:
                header = list(item)
                yield 0, header
            yield number, [_cell(item[key]) for key in header if key in item]

    return Table(name, rows())


def _object(name: str, number: int, line: str) -> Mapping[str, Any]:
    try:
        item = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{name} line {number}: expected a JSON object: {error.msg}") from error
    if not isinstance(item, dict):
        raise UserError(f"{name} line {number}: expected a JSON object, found {type(item).__name__}")
    return item


def _parquet(name: str, content: bytes) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise UserError(f"{name}: expected a Parquet file: {str(error).splitlines()[0]}") from error
    return from_columns(name, table.to_pydict())


def from_columns(name: str, columns: Mapping[str, list[Any]]) -> Table:
    """A table from columns of equal length."""

    def rows() -> Rows:
        yield 0, list(columns)
        for number, cells in enumerate(zip(*columns.values(), strict=True), 1):
            yield number, [_cell(cell) for cell in cells]

    return Table(name, rows(), "row")


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


READERS: Mapping[str, Callable[[str, bytes], Table]] = {
    ".tsv": _tsv,
    ".txt": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
