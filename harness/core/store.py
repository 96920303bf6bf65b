"""The folder of a run: one JSON a cell, its predictions beside it, profiles, and what was asked.

    OUT/run.json                       what was asked
    OUT/cells/KEY.json, KEY.parquet    a record and its predictions
    OUT/profiles/KEY.json              memory and speed of a method
    OUT/set-aside/                     files that could not be trusted

Any command may read. Only the holder of `lock` writes, and only its `repair` moves files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from harness.core.errors import UserError, quote, shorten
from harness.core.files import (
    append_digest,
    check_writable,
    describe_os_error,
    escape_path,
    list_files,
    read_bytes,
    verify_digest,
    write_atomically,
)
from harness.core.garbage import pause_collection
from harness.core.leftovers import remove_run_leftovers
from harness.core.record import SCHEMA_VERSION, Predictions, Profile, Record, Run, SharedParts, Stored

if TYPE_CHECKING:
    import pandas as pd


SET_ASIDE = "set-aside"
SETTLE_SECONDS, POLL_SECONDS = 2.0, 0.05
"""Seconds after which a record that has not changed is no longer being written, and between two looks at it."""
Document = TypeVar("Document", bound=Stored)
RECORD_DEPTH = 2
"""The digest of a record stands in its last field."""


class UnmatchedPredictions(ValueError):
    """A record whose predictions are absent or others: damage, or a run is between writing the two files."""


class Store:
    """Records under `out`/cells and profiles under `out`/profiles."""

    def __init__(self, out: Path) -> None:
        self.out, self.cells, self.profile_dir = out, out / "cells", out / "profiles"

    def prepare(self, also: Sequence[str] = ()) -> None:
        """Make the folders and write in each that a run writes to. Raises UserError, before any training.

        `also`: folders below that are made later; where one is there already, it must take files too.
        """
        folder = self.out
        try:
            for folder in (self.cells, self.profile_dir):
                folder.mkdir(parents=True, exist_ok=True)
            later_folders = [self.out / name for name in also if os.path.lexists(self.out / name)]
            for folder in (self.out, self.cells, self.profile_dir, *later_folders):
                check_writable(folder)
        except OSError as error:
            raise UserError(
                f"--out {escape_path(self.out)}: cannot write in {escape_path(folder)}: {describe_os_error(error)}; "
                "give a folder that can be written"
            ) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One run at a time in a folder. Raises UserError."""
        path = self.out / ".lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        except OSError as error:
            raise UserError(f"--out {self.out}: cannot open {path}: {describe_os_error(error)}; delete it") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"--out {self.out}: another run writes there; wait, or use another") from error
            except OSError as error:
                raise UserError(
                    f"--out {self.out}: cannot lock {path}: {describe_os_error(error)}; use another"
                ) from error
            yield
        finally:
            os.close(descriptor)

    def write(self, record: Record, predictions: pd.DataFrame | None) -> None:
        """The predictions first, then the record that names their hash."""
        if predictions is not None:
            content = encode_parquet(predictions)
            path = self.cells / f"{record.key}.parquet"
            write_atomically(path, content)
            side = Predictions(path=path.name, sha256=hashlib.sha256(content).hexdigest(), rows=len(predictions))
            record = record.model_copy(update={"predictions": side})
        write_atomically(self.cells / f"{record.key}.json", to_json(record))

    def write_profile(self, profile: Profile) -> None:
        write_atomically(self.profile_dir / f"{profile.key}.json", to_json(profile))

    def read(self) -> tuple[dict[str, Record], list[str]]:
        """Records by key, and a line for each file that is skipped because it cannot be trusted.

        Nothing is moved or written. Raises UserError for a folder that cannot be read.
        """
        records, damaged = self._read_records()
        return records, [f"{escape_path(path)}: {why}; skipped" for path, why in damaged.items()]

    def repair(self) -> tuple[dict[str, Record], list[str]]:
        """As `read`, for the run that holds the lock: files that cannot be trusted move out of the way.

        That is also done with damaged profiles, and with folders that have the name of a file.
        Temporary files that a killed run left are deleted.
        """
        remove_run_leftovers(self.out)
        records, damaged = self._read_records(wait=False)
        damaged |= read_documents(self.profile_dir, Profile)[1]
        lines = [f"{self._set_aside(path, why)}, what it held is made again" for path, why in damaged.items()]
        files = [self.out / "run.json", *list_files(self.cells, ".parquet")]
        blocking = [path for path in files if path.is_dir() and not path.is_symlink()]
        return records, [*lines, *(self._set_aside(path, "a folder, not a file") for path in blocking)]

    @pause_collection()
    def _read_records(self, wait: bool = True) -> tuple[dict[str, Record], dict[Path, str]]:
        """Records by key; the others by path, with the reason.

        A run replaces predictions and record one after the other. A record that does not fit its predictions is
        therefore read again, until its files have not changed for a while; not so by the run itself.
        """
        records: dict[str, Record] = {}
        damaged: dict[Path, str] = {}
        shared_parts = SharedParts()
        paths = list_files(self.cells, ".json")
        stamps: dict[Path, object] = {}
        unmatched: set[Path] = set()
        deadline = time.monotonic() + 5 * SETTLE_SECONDS
        while True:
            for path in paths:
                stamps[path] = _build_stamp(path) if path in damaged else None  # most are read once
                unmatched.discard(path)
                try:
                    record = read_record(path)
                except (OSError, ValueError, RecursionError) as error:
                    damaged[path] = describe_damage(error)
                    if isinstance(error, UnmatchedPredictions):
                        unmatched.add(path)
                else:
                    records[record.key] = shared_parts.share(record)
                    damaged.pop(path, None)
            recent = [path for path in sorted(unmatched) if _get_change_time(path) > time.time() - SETTLE_SECONDS]
            if not recent or not wait or time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
            paths = [path for path in recent if _build_stamp(path) != stamps[path]]
        return records, {path: why for path, why in damaged.items() if os.path.lexists(path)}

    def _set_aside(self, path: Path, why: str) -> str:
        """Move a file or folder to where it is in nobody's way; earlier ones of its name stay."""
        for number in range(1, 10):
            folder = self.out / (SET_ASIDE if number == 1 else f"{SET_ASIDE}-{number}")
            with contextlib.suppress(OSError):
                folder.mkdir(exist_ok=True)
                if os.path.lexists(folder / path.name):
                    continue
                os.rename(path, folder / path.name)
                return f"{escape_path(path)}: {why}; set aside in {escape_path(folder)}"
        raise UserError(
            f"{escape_path(path)}: {why}; it cannot be moved to {self.out / SET_ASIDE}: move it away, or delete it"
        )

    def profiles(self) -> dict[str, Profile]:
        """Profiles by key; one that does not read counts as absent and is measured again."""
        return self.read_profiles()[0]

    def read_profiles(self) -> tuple[dict[str, Profile], list[str]]:
        """Profiles by key, and a line for each file that is skipped because it cannot be trusted."""
        profiles, damaged = read_documents(self.profile_dir, Profile)
        return profiles, [f"{escape_path(path)}: {why}; skipped" for path, why in damaged.items()]

    def write_run(
        self,
        command: str,
        title: str,
        order: Sequence[str],
        dropped: Sequence[str],
        margin: float | None = None,
        late: bool = False,
    ) -> None:
        """What was asked, so that a report can be made from the folder alone.

        `late`: the margin was named, or changed, when there were results already.
        """
        run = Run(
            command=command, title=title, order=list(order), dropped=list(dropped), margin=margin, margin_late=late
        )
        write_atomically(self.out / "run.json", to_json(run))

    def read_run(self) -> dict[str, Any]:
        """What `write_run` wrote. Raises UserError where the folder holds no run."""
        path = self.out / "run.json"
        try:
            return read_document(path, Run).model_dump()
        except (OSError, ValueError) as error:
            why = describe_os_error(error) if isinstance(error, OSError) else describe_damage(error)
            raise UserError(
                f"{escape_path(self.out)} holds no run (no readable run.json: {why}); give the folder of `run`, "
                "or run its command again"
            ) from error


# ---------------------------------------------------------------- files


def read_record(path: Path) -> Record:
    """A record that is what its file says, with its predictions. Raises OSError and ValueError."""
    record = parse_record(path)
    if record.key != path.stem or record.cell.key != record.key:
        raise ValueError("its key does not match its content")
    if side := find_changed_predictions(path.parent, record):
        raise UnmatchedPredictions(f"its predictions {escape_path(Path(side.name))} are absent or changed")
    return record


def parse_record(path: Path) -> Record:
    """A record without a look at its predictions. Raises OSError and ValueError."""
    try:
        content = read_bytes(path)
        record = Record.model_validate_json(content)
        verify_digest(content, RECORD_DEPTH)
        return record
    except ValidationError as error:
        version = _read_schema_version(path)
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema version {version}, this harness reads {SCHEMA_VERSION}") from error
        raise


def _read_schema_version(path: Path) -> object:
    """The schema version of a record that does not read, whatever else is in it."""
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError):
        return SCHEMA_VERSION
    return content.get("schema_version", SCHEMA_VERSION) if isinstance(content, dict) else SCHEMA_VERSION


def read_document(path: Path, kind: type[Document]) -> Document:
    """A JSON file with its digest, if it has one, verified. Raises OSError and ValueError."""
    content = read_bytes(path)
    document = kind.model_validate_json(content)
    if not verify_digest(content) and document.sha256 is not None:
        raise ValueError("its sha256 is not the last of its members")
    return document.model_copy(update={"sha256": None})


def read_documents(folder: Path, kind: type[Profile]) -> tuple[dict[str, Profile], dict[Path, str]]:
    """Those of a folder by key; the others by path, with the reason."""
    documents: dict[str, Profile] = {}
    damaged: dict[Path, str] = {}
    for path in list_files(folder, ".json"):
        try:
            document = read_document(path, kind)
            if document.key != path.stem:
                raise ValueError("its key does not match its name")
            documents[document.key] = document
        except (OSError, ValueError) as error:
            damaged[path] = describe_damage(error)
    return documents, damaged


def find_changed_predictions(cells: Path, record: Record) -> Path | None:
    """The file of a record's predictions, where it is absent or not what the record says."""
    if record.predictions is None:
        return None
    side = cells / record.predictions.path
    if record.predictions.path == f"{record.key}.parquet":  # no other name, so nothing outside of the folder
        with contextlib.suppress(OSError):
            if hashlib.sha256(read_bytes(side)).hexdigest() == record.predictions.sha256:
                return None
    return side


def _stat_files(path: Path) -> list[os.stat_result]:
    """A record and its predictions, as far as they are there."""
    files = []
    for file in (path, path.with_suffix(".parquet")):
        with contextlib.suppress(OSError):
            files.append(file.lstat())
    return files


def _build_stamp(path: Path) -> object:
    """Changes when a record or its predictions are replaced."""
    return [(file.st_ino, file.st_mtime_ns, file.st_size) for file in _stat_files(path)]


def _get_change_time(path: Path) -> float:
    """When a record or its predictions were written last; not in the future, where clocks differ."""
    now = time.time()
    return max((file.st_mtime for file in _stat_files(path) if file.st_mtime <= now), default=0.0)


def truncate_lines(lines: Sequence[str], most: int = 10) -> list[str]:
    """The first lines, and how many more there are."""
    hidden = len(lines) - most
    return [*lines[:most], f"and {hidden} more"] if hidden > 0 else list(lines)


class HasKey(Protocol):
    """A cell, or a planned one."""

    @property
    def key(self) -> str: ...


ACell = TypeVar("ACell", bound=HasKey)


def select_missing_cells(cells: Sequence[ACell], records: dict[str, Record], *, retry: bool) -> list[ACell]:
    """Cells without a result; cancelled ones run again, failed and out-of-memory ones only on `retry`."""
    final_statuses = {"ok"} if retry else {"ok", "failed", "oom"}
    return [c for c in cells if c.key not in records or records[c.key].status not in final_statuses]


def describe_damage(error: Exception) -> str:
    """One line; of a record that does not fit its schema, the first field that does not, and what it holds."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        # a missing field has the object around it as its input
        given = "" if first["type"] in ("missing", "json_invalid") else f"; found: {quote(first['input'])}"
        return f"{shorten(place)}: {first['msg']}{given}" if place else str(first["msg"])
    if isinstance(error, OSError):
        return describe_os_error(error)
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def to_json(document: BaseModel) -> bytes:
    """The content of a JSON file, with its digest.

    Numbers and texts are written as json.dumps does: a script that only lays the file out anew keeps the digest.
    """
    depth = RECORD_DEPTH if isinstance(document, Record) else 1
    return append_digest(json.dumps(document.model_dump(mode="json"), indent=1).encode(), depth)


def encode_parquet(frame: pd.DataFrame) -> bytes:
    """The content of a file of predictions."""
    import io

    stream = io.BytesIO()
    frame.to_parquet(stream, index=False)
    return stream.getvalue()
