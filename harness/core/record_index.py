"""The index of a folder of records: what the record files hold, so that unchanged ones need not be parsed again.

    OUT/cells/KEY.json            the truth
    OUT/index/HASH.segment        copies of some records, column by column; may be deleted at any time

    segment   b"sha256 of the body\\n" + body: one JSON value per line
              {"format": ..., "count": n}
              stamps of the n records, in their order
              for each field of Record and of its cell: its distinct values, and for each record the place of its own

A record is taken from the index only if its file and its predictions have the size, times and inode that they had when
they were parsed. The time of the last change (ctime) cannot be set by a program, so an edit shows even where size and
modification time are restored. Files that changed less than `SETTLE_NS` before they were read are not indexed: a
second edit within one tick of the file system's clock would leave no trace.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, TypeAdapter

from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.files import replace_file
from harness.core.quantization import check_stored_quantization
from harness.core.record import Record, SharedParts

FileStamp = tuple[int, int, int, int]
"""Size in bytes, times of the last modification and of the last change in nanoseconds, inode."""
Stamp = tuple[FileStamp, FileStamp | None]
"""Of a record's file and of its predictions; None: it has none."""

Seeds = tuple[tuple[str, int], ...]
SUFFIX = ".segment"
MIN_RECORDS = 1000
"""Records of a folder below which an index saves less than it costs; also new records that are worth a segment."""
MAX_SEGMENTS = 20
SETTLE_NS = 2_000_000_000
RECORD_FIELDS = tuple(name for name in Record.model_fields if name != "cell")
CELL_FIELDS = tuple(Cell.model_fields)
MEANING = ("cell", "record", "record_index", "stored_files", "files", "quantization")
"""Modules that decide which files are valid records, and what these say."""
SCALARS = (str, int, bool, type(None))


def scan(cells: Path) -> dict[str, Stamp | None]:
    """Stem of each record's file -> its stamp; None for a record that must be read from its file. Raises OSError.

    None stands for links, folders and file systems whose times have whole seconds only.
    """
    records: dict[str, FileStamp | None] = {}
    predictions: dict[str, FileStamp | None] = {}
    with os.scandir(cells) as entries:
        for entry in entries:
            stem, _, suffix = entry.name.rpartition(".")
            if suffix not in ("json", "parquet") or entry.name.startswith("."):
                continue
            stamp = None
            with contextlib.suppress(OSError):  # it may have vanished meanwhile
                status = entry.stat(follow_symlinks=False)
                # behind a link the file may change without a trace here; a whole second hides edits within it
                if stat.S_ISREG(status.st_mode) and status.st_ctime_ns % 1_000_000_000:
                    stamp = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
            (records if suffix == "json" else predictions)[stem] = stamp
    stamps: dict[str, Stamp | None] = {}
    for stem, stamp in records.items():
        usable = stamp is not None and not (stem in predictions and predictions[stem] is None)
        stamps[stem] = (stamp, predictions.get(stem)) if usable and stamp else None
    return stamps


class RecordIndex:
    """Records by key with the stamps of their files; from the segments in `folder` and from earlier reads.

    `shared` are the parts that records have in common, those that were parsed included.
    """

    def __init__(self, folder: Path, *, may_write: bool = True) -> None:
        self.folder, self.may_write, self.shared = folder, may_write, SharedParts()
        self._entries: dict[str, tuple[Stamp, Record]] = {}
        self._segments: dict[str, int] | None = None
        """Name of each segment that was read -> its number of records; None before the first read."""
        self._unsaved: set[str] = set()
        self._used: set[str] = set()
        """Names of the segments that some record was taken from."""

    def find(self, stamps: Mapping[str, Stamp | None]) -> dict[str, Record]:
        """The records whose files have not changed since they were parsed."""
        if len(stamps) < MIN_RECORDS:
            return {}
        if self._segments is None:
            self._segments = {}
            self._read_segments(stamps)
        entries = self._entries
        self._entries = {key: entry for key, entry in entries.items() if stamps.get(key) == entry[0]}
        return {key: record for key, (_, record) in self._entries.items()}

    def add(self, records: Iterable[Record], stamps: Mapping[str, Stamp | None], began: float) -> None:
        """Remember records that were parsed after `stamps` were taken, and write them if they are many.

        `began` is the value of time.monotonic() when the stamps were taken. A folder that cannot be written, or a full
        disk, leaves the index as it is.
        """
        if len(stamps) < MIN_RECORDS or not self.may_write:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            settled = self._read_file_clock() - int((time.monotonic() - began) * 1e9) - SETTLE_NS
            for record in records:
                stamp = stamps.get(record.key)
                if stamp is not None and all(file is None or file[2] < settled for file in stamp):
                    self._entries[record.key] = stamp, record
                    self._unsaved.add(record.key)
            self._save()

    def forget(self) -> None:
        """Trust nothing that was read or written before; the next `add` writes the index anew."""
        self._entries, self._unsaved = {}, set()
        self._segments = {path.name: 0 for path in self.folder.glob(f"*{SUFFIX}")}

    def list_useless(self) -> list[tuple[str, str]]:
        """Name of each segment that `find` could take no record from, and why."""
        why = "damaged, of another version, or out of date"
        return [(name, why) for name in self._segments or {} if name not in self._used]

    def rebuild(self) -> None:
        """Replace all segments by one with the records that were found or added. Raises OSError."""
        names = [path.name for path in self.folder.glob(f"*{SUFFIX}")]
        written = self._write(list(self._entries))
        for name in names:
            if name != written:
                (self.folder / name).unlink(missing_ok=True)
        self._segments, self._unsaved = {written: len(self._entries)}, set()

    # ------------------------------------------------------------ files

    def _read_file_clock(self) -> int:
        """The time of the file system in nanoseconds, which on a file server is not this machine's. Raises OSError."""
        probe = self.folder / f".clock.{secrets.token_hex(4)}"
        try:
            with probe.open("xb") as stream:
                return os.fstat(stream.fileno()).st_ctime_ns
        finally:
            probe.unlink(missing_ok=True)

    def _read_segments(self, stamps: Mapping[str, Stamp | None]) -> None:
        """Read all segments; one that is damaged or from another version is left out, and replaced later."""
        assert self._segments is not None
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            self._segments[path.name] = 0
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
                entries, count = _decode_segment(path.read_bytes(), stamps, self.shared)
                self._entries |= entries
                self._segments[path.name] = count
                self._used |= {path.name} if entries else set()

    def _save(self) -> None:
        """Write new records if they are many; all into one segment if the segments are many or mostly out of date."""
        assert self._segments is not None
        stored = sum(self._segments.values())
        is_scattered = len(self._segments) >= MAX_SEGMENTS or stored > 2 * len(self._entries)
        is_useless = bool(self._segments) and not all(self._segments.values())
        if len(self._unsaved) < MIN_RECORDS and not is_scattered and not is_useless:
            return
        if is_scattered or is_useless or not self._segments:
            self.rebuild()
        else:
            keys = [key for key in self._entries if key in self._unsaved]
            self._segments[self._write(keys)] = len(keys)
            self._unsaved = set()

    def _write(self, keys: Sequence[str]) -> str:
        """Write a segment with the records of `keys`; returns its name."""
        body = _encode_segment([self._entries[key] for key in keys])
        digest = hashlib.sha256(body).hexdigest()
        self.folder.mkdir(exist_ok=True)
        replace_file(self.folder / f"{digest[:16]}{SUFFIX}", digest.encode() + b"\n" + body)
        return f"{digest[:16]}{SUFFIX}"


# ---------------------------------------------------------------- the content of a segment


@functools.cache
def _get_format() -> str:
    """A hash of the code that gives a record its meaning: after any change to it the records are parsed again."""
    digest = hashlib.sha256(pydantic.VERSION.encode())
    for module in MEANING:
        digest.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return digest.hexdigest()


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


def _encode_segment(entries: Sequence[tuple[Stamp, Record]]) -> bytes:
    lines = [json.dumps({"format": _get_format(), "count": len(entries)})]
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
    return "\n".join(lines).encode()


def _decode_segment(
    content: bytes, stamps: Mapping[str, Stamp | None], shared: SharedParts
) -> tuple[dict[str, tuple[Stamp, Record]], int]:
    """Key -> stamp and record of those that are up to date, and the number of all. Raises ValueError for damage."""
    digest, _, body = content.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("its content does not match its sha256")
    head, stamp_line, *lines = body.split(b"\n")
    header = json.loads(head)
    if header["format"] != _get_format():
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
