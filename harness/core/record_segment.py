"""A segment of the index of a folder: some records, column by column, as bytes.

    sha256 of the body, in hexadecimal
    {"format": ..., "count": n}
    stamps of the n records, in their order
    for each field of Record and of its cell:
        its distinct values
        for each record the place of its value among them; [] where all have the first

One JSON value per line. A value is validated when its record is parsed, and read back without a second validation of
the whole record, which would take most of the time.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, TypeAdapter

from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.quantization import check_stored_quantization
from harness.core.record import Record
from harness.core.shared_parts import SharedParts

FileStamp = tuple[int, int, int, int]
"""Size in bytes, times of the last modification and of the last change in nanoseconds, inode."""
Stamp = tuple[FileStamp, FileStamp | None]
"""Of a record's file and of its predictions; None: it has none."""
Seeds = tuple[tuple[str, int], ...]
RECORD_FIELDS = tuple(name for name in Record.model_fields if name != "cell")
CELL_FIELDS = tuple(Cell.model_fields)
MEANING = ("cell", "protocol", "record", "strict", "record_segment", "stored_files", "files", "quantization")
"""Modules that decide which files are valid records, and what these say."""
SCALARS = (str, int, bool, type(None))


def _hash_meaning() -> str:
    digest = hashlib.sha256(pydantic.VERSION.encode())
    for module in MEANING:
        digest.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return digest.hexdigest()


FORMAT = _hash_meaning()
"""A hash of the code that gives a record its meaning: after any change to it the records are parsed again.

Of the code that is running: it is computed now, as its files may change while a run lasts.
"""


@functools.cache
def _get_adapter(owner: type[BaseModel], name: str) -> TypeAdapter[list[Any]]:
    """Reads a list of values of one field."""
    annotation = owner.model_fields[name].annotation
    return TypeAdapter(list[annotation])  # type: ignore[valid-type]


class _Column:
    """The distinct values of a field as JSON texts, and for each record the place of its value."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.places: list[int] = []
        self._by_value: dict[object, int] = {}
        self._by_id: dict[int, object] = {}

    def append(self, value: Any) -> None:
        kind = type(value)
        if kind in SCALARS:
            content: object = (kind, value)
            if content not in self._by_value:
                self._add(content, _encode(value))
        elif id(value) in self._by_id:  # records of a store share equal models, each of which is encoded once
            content = self._by_id[id(value)]
        else:
            content = _encode(value)
            if content not in self._by_value:
                self._add(content, str(content))
            if isinstance(value, BaseModel):
                self._by_id[id(value)] = content
        self.places.append(self._by_value[content])

    def _add(self, content: object, text: str) -> None:
        self._by_value[content] = len(self.texts)
        self.texts.append(text)


def _to_plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is no JSON value")


_encode = json.JSONEncoder(default=_to_plain).encode
# json.dumps would make an encoder for each of 100,000 values


def encode_segment(entries: Sequence[tuple[Stamp, Record]]) -> bytes:
    """The content of a segment with these records."""
    lines = [json.dumps({"format": FORMAT, "count": len(entries)})]
    lines.append(json.dumps([stamp for stamp, _ in entries]))
    for owner, names in ((None, RECORD_FIELDS), ("cell", CELL_FIELDS)):
        columns = [_Column() for _ in names]
        for _, record in entries:
            values = (record.cell if owner else record).__dict__
            for name, column in zip(names, columns, strict=True):
                column.append(values[name])
        for column in columns:
            lines.append(f"[{','.join(column.texts)}]")
            # one value for all is most fields of most stores
            lines.append(json.dumps(column.places if len(column.texts) > 1 else []))
    body = "\n".join(lines).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode_segment(
    content: bytes, stamps: Mapping[str, Stamp | None], shared: SharedParts
) -> tuple[dict[str, tuple[Stamp, Record]], int]:
    """Key -> stamp and record of those that are up to date, and the number of all. Raises ValueError for damage."""
    digest, _, body = content.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("its content does not match its sha256")
    head, stamp_line, *lines = body.split(b"\n")
    header = json.loads(head)
    if header["format"] != FORMAT:
        raise ValueError("written by another version")
    count = header["count"]
    stored_stamps: list[Stamp] = [(tuple(a), b and tuple(b)) for a, b in json.loads(stamp_line)]
    columns: dict[tuple[type[BaseModel], str], list[Any]] = {}
    for place, (owner, name) in enumerate([(Record, n) for n in RECORD_FIELDS] + [(Cell, n) for n in CELL_FIELDS]):
        values = shared.share_values(name, _get_adapter(owner, name).validate_json(lines[2 * place]))
        places = json.loads(lines[2 * place + 1])
        columns[owner, name] = [values[place] for place in places] if places else values * count
    keys = columns[Record, "key"]
    current = [stamps.get(key) == stamp for key, stamp in zip(keys, stored_stamps, strict=True)]
    cells = _build_cells(keys, [columns[Cell, name] for name in CELL_FIELDS], current)
    # in the order of the class, which is the order in a written record
    names = tuple(Record.model_fields)
    rows = zip(*(cells if name == "cell" else columns[Record, name] for name in names), strict=True)
    entries: dict[str, tuple[Stamp, Record]] = {}
    for key, stamp, cell, row in zip(keys, stored_stamps, cells, rows, strict=True):
        if cell is not None:
            entries[key] = stamp, _restore(Record, dict(zip(names, row, strict=True)))
    return entries, count


def _build_cells(keys: Sequence[str], columns: Sequence[Sequence[Any]], current: Sequence[bool]) -> list[Cell | None]:
    """The cell of each row, without a second validation; None if it is not current or of an unknown quantization."""
    cells: list[Cell | None] = []
    labels: dict[tuple[str, int], str] = {}
    sorted_seeds: dict[int, Seeds] = {}
    for key, is_current, row in zip(keys, current, zip(*columns, strict=True), strict=True):
        values = dict(zip(CELL_FIELDS, row, strict=True))
        if not is_current or not _is_known(values["quantize"], values["parts"]):
            cells.append(None)
            continue
        cell: Cell = _restore(Cell, values)
        # rows share equal options and seeds as one object: what follows from them is computed once for all
        method, options, seeds = values["method"], values["options"], values["seeds"]
        if (method, id(options)) not in labels:
            labels[method, id(options)] = cell.label
        if id(seeds) not in sorted_seeds:
            sorted_seeds[id(seeds)] = cell.sorted_seeds
        # the key was compared with the record's when that was parsed
        cell.__dict__.update(key=key, label=labels[method, id(options)], sorted_seeds=sorted_seeds[id(seeds)])
        cells.append(cell)
    return cells


def _is_known(quantize: str, parts: Mapping[str, str]) -> bool:
    """Whether a quantization type may be read: the one check whose answer depends on the plugins that are loaded."""
    if quantize == "none":
        return True
    try:
        check_stored_quantization(quantize, parts)
    except UserError:
        return False
    return True


def _restore(kind: Any, values: dict[str, Any]) -> Any:
    """A model of `kind` with these values, restored as pickle does it."""
    model = kind.__new__(kind)
    object.__setattr__(model, "__dict__", values)
    object.__setattr__(model, "__pydantic_fields_set__", _list_fields(kind))
    object.__setattr__(model, "__pydantic_extra__", None)
    object.__setattr__(model, "__pydantic_private__", None)
    return model


@functools.cache
def _list_fields(kind: type[BaseModel]) -> set[str]:
    return set(kind.model_fields)
