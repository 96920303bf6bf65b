"""Instruction data as examples: the fields of Alpaca or of Dolly, a JSON list or an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any

from harness.contracts import Example
from harness.errors import UserError, unknown

FIELDS = (("instruction", "input", "output"), ("instruction", "context", "response"))
"""Instruction, what it is about (may be absent), answer: Alpaca's names and Dolly's."""
Rows = list[tuple[str, str, str]]


def read_instructions(paths: Sequence[Traversable]) -> tuple[tuple[Example, ...], list[str]]:
    """Examples `train/0`, `train/1`, ... of all files, and notes on what was left out.

    Raises UserError naming file, row and what was expected.
    """
    rows = [row for path in paths for row in _rows(str(path), _objects(path))]
    if not any(row[2].strip() for row in rows):
        raise UserError(f"{', '.join(map(str, paths))}: no row with an answer; expected fields {_allowed()}")
    return numbered(rows, several=len(paths) > 1)


def numbered(rows: Rows, *, several: bool) -> tuple[tuple[Example, ...], list[str]]:
    """Examples of rows, less those without an answer and, with `several` files, those that were there before."""
    answered = [row for row in rows if row[2].strip()]
    distinct = list(dict.fromkeys(answered)) if several else answered
    counts = {"with an empty answer": len(rows) - len(answered), "given twice": len(answered) - len(distinct)}
    notes = [f"dropped: train: {n} row{'s' * (n > 1)} {what}" for what, n in counts.items() if n]
    examples = (Example(f"train/{i}", (ask, given), answer) for i, (ask, given, answer) in enumerate(distinct))
    return tuple(examples), notes


def from_records(name: str, records: Iterable[Mapping[str, Any]]) -> Rows:
    """Rows of records that are in memory already."""
    return _rows(name, ((f"row {i}", record) for i, record in enumerate(records, 1)))


def _rows(name: str, records: Iterable[tuple[str, Any]]) -> Rows:
    rows: Rows = []
    for place, record in records:
        names = next((f for f in FIELDS if isinstance(record, dict) and f[0] in record and f[2] in record), None)
        if names is None:
            found = ", ".join(record)[:80] if isinstance(record, dict) else type(record).__name__
            raise UserError(f"{name} {place}: found {found}; expected fields {_allowed()}")
        values = [record.get(key) or "" for key in names]
        wrong = next((key for key, value in zip(names, values, strict=True) if not isinstance(value, str)), None)
        if wrong is not None:
            raise UserError(f"{name} {place}: '{wrong}' is {type(record[wrong]).__name__}, expected text")
        if not values[0].strip():
            raise UserError(f"{name} {place}: empty instruction, expected text")
        rows.append((values[0], values[1], values[2]))
    return rows


def _allowed() -> str:
    return " or ".join(f"({', '.join(names)})" for names in FIELDS)


def _objects(path: Traversable) -> list[tuple[str, Any]]:
    """(where, object) of a .json list, or of .jsonl lines; a .json file may also hold lines."""
    kind = path.name.rpartition(".")[2].lower()
    if kind not in ("json", "jsonl"):
        raise unknown(f"extension of instruction data '{path}'", f".{kind}", (".json", ".jsonl"))
    text = _text(path)
    if kind == "json" and text.lstrip().startswith("["):
        return [(f"row {i}", item) for i, item in enumerate(_parsed(f"{path}", text), 1)]
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [(f"line {number}", _parsed(f"{path} line {number}", line)) for number, line in lines]


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        found = f"{error.msg} at line {error.lineno}" if " line " not in where else error.msg
        raise UserError(f"{where}: expected JSON: {found}") from error


def _text(path: Traversable) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"data file '{path}' cannot be read: {error.strerror}; give the path of a file") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{error.object[error.start]:02x}"
        raise UserError(f"{path} line {line}: expected UTF-8 text, found {found}") from error
