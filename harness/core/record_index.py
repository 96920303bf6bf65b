"""The index of a folder of records: what the record files hold, so that unchanged ones need not be parsed again.

    OUT/cells/KEY.json            the truth
    OUT/index/HASH.segment        copies of some records (see record_segment.py); may be deleted at any time

A record is taken from the index only if its file and its predictions have the size, times and inode that they had when
they were parsed. The time of the last change (ctime) cannot be set by a program, so an edit shows even where size and
modification time are restored. Files that changed less than `SETTLE_NS` before they were read are not indexed: a
second edit within one tick of the file system's clock would leave no trace.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.core.files import replace_file
from harness.core.record import Record
from harness.core.record_segment import FileStamp, Stamp, decode_segment, encode_segment
from harness.core.shared_parts import SharedParts

SUFFIX = ".segment"
MIN_RECORDS = 1000
"""Records of a folder below which an index saves less than it costs; also new records that are worth a segment."""
MAX_SEGMENTS = 20
SETTLE_NS = 2_000_000_000


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
                entries, count = decode_segment(path.read_bytes(), stamps, self.shared)
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
        content = encode_segment([self._entries[key] for key in keys])
        name = f"{content[:16].decode()}{SUFFIX}"
        self.folder.mkdir(exist_ok=True)
        replace_file(self.folder / name, content)
        return name
