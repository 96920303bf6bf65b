"""The folder of a run.

    OUT/run.json                       the command, and the cells that it asked for
    OUT/cells/KEY.json, KEY.parquet    record and predictions of a cell
    OUT/profiles/KEY.json              memory and speed of a method
    OUT/set-aside/                     damaged files, moved out of the way
    OUT/.lock                          held by the command that writes

Any command may read. Only the holder of `lock` writes, and only its `repair` moves files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
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
"""Seconds without a change after which a record is no longer being written, and seconds between two reads of it."""
Document = TypeVar("Document", bound=Stored)
RECORD_DEPTH = 2
"""Nesting of a record's digest: it is in the last field, `extra`."""


class UnmatchedPredictions(ValueError):
    """The predictions of a record are absent or different: damage, or a run is between writing the two files."""


class Store:
    """The records, profiles and run.json in the folder of a run."""

    def __init__(self, out: Path) -> None:
        self.out, self.cells, self.profile_dir = out, out / "cells", out / "profiles"

    def prepare(self, also: Sequence[str] = ()) -> None:
        """Create the folders and check that files can be written. Raises UserError, before any training.

        `also` names folders that are created later; those that exist already are checked too.
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
        """A context in which this process alone writes to the folder. Raises UserError if another run does."""
        path = self.out / ".lock"

        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        except OSError as error:
            raise UserError(f"--out {self.out}: cannot open {path}: {describe_os_error(error)}; delete it") from error
        try:
            # flock, not the file's existence: the kernel releases it when a run is killed
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
        """Write a record and its predictions, if any. Raises UserError."""
        # predictions first: the record names their hash, and a kill in between leaves no record without predictions
        if predictions is not None:
            content = encode_parquet(predictions)
            path = self.cells / f"{record.key}.parquet"
            write_atomically(path, content)
            side = Predictions(path=path.name, sha256=hashlib.sha256(content).hexdigest(), rows=len(predictions))
            record = record.model_copy(update={"predictions": side})
        write_atomically(self.cells / f"{record.key}.json", to_json(record))

    def write_profile(self, profile: Profile) -> None:
        """Write a profile. Raises UserError."""
        write_atomically(self.profile_dir / f"{profile.key}.json", to_json(profile))

    def read(self) -> tuple[dict[str, Record], list[str]]:
        """Key -> record, and one line per skipped file that is damaged.

        Moves and writes nothing. Raises UserError for a folder that cannot be read.
        """
        records, damaged = self._read_records()
        return records, [f"{escape_path(path)}: {why}; skipped" for path, why in damaged.items()]

    def repair(self) -> tuple[dict[str, Record], list[str]]:
        """Key -> record, and one line per damaged file, which is moved to set-aside/. The caller must hold the lock.

        Damaged profiles are moved too, and folders that have the name of a file. Temporary files of a killed run are
        deleted.
        """
        remove_run_leftovers(self.out)
        records, damaged = self._read_records(wait=False)
        damaged |= read_documents(self.profile_dir, Profile)[1]
        lines = [f"{self._set_aside(path, why)}; its content is computed again" for path, why in damaged.items()]
        files = [self.out / "run.json", *list_files(self.cells, ".parquet")]
        blocking = [path for path in files if path.is_dir() and not path.is_symlink()]
        return records, [*lines, *(self._set_aside(path, "a folder, not a file") for path in blocking)]

    @pause_collection()
    def _read_records(self, wait: bool = True) -> tuple[dict[str, Record], dict[Path, str]]:
        """Key -> record, and path -> reason for damaged files.

        A run replaces predictions and record one after the other. With `wait`, a record that does not match its
        predictions is therefore read again until its files have not changed for `SETTLE_SECONDS`. The run itself, which
        is the only writer, need not wait.
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
                # only for files that may be read again: most are read once
                stamps[path] = _build_stamp(path) if path in damaged else None
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
        # a file that has vanished meanwhile was replaced or moved by a run: it is not damaged
        return records, {path: why for path, why in damaged.items() if os.path.lexists(path)}

    def _set_aside(self, path: Path, why: str) -> str:
        """Move a damaged file or folder to set-aside/; returns a line that says so. Raises UserError.

        An earlier one of the same name is not overwritten: the next goes to set-aside-2/, and so on.
        """
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
        """Key -> profile. A damaged profile counts as absent, so that it is measured again."""
        return self.read_profiles()[0]

    def read_profiles(self) -> tuple[dict[str, Profile], list[str]]:
        """Key -> profile, and one line per skipped file that is damaged."""
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
        declared: Mapping[str, Any] | None = None,
    ) -> None:
        """Write run.json, so that a report can be written from the folder alone. Raises UserError.

        `order` are the keys of the run's cells, `dropped` a line per combination that was left out. `late`: the margin
        is post hoc, set or changed when results existed. `declared`: fields of `Run` about the primary comparisons and
        the margin of collapses.
        """
        run = Run(
            command=command,
            title=title,
            order=list(order),
            dropped=list(dropped),
            margin=margin,
            margin_late=late,
            **(declared or {}),
        )
        write_atomically(self.out / "run.json", to_json(run))

    def declare(self, declared: Mapping[str, Any]) -> None:
        """Replace fields of run.json. The caller must hold the lock. Raises UserError."""
        run = Run.model_validate(self.read_run() | dict(declared))
        write_atomically(self.out / "run.json", to_json(run))

    def read_run(self) -> dict[str, Any]:
        """The content of run.json. Raises UserError if the folder holds no run."""
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
    """A record, checked against its file name, its cell and its predictions. Raises OSError and ValueError."""
    record = parse_record(path)
    # a copied or edited record would otherwise stand for a cell that it does not belong to
    if record.key != path.stem or record.cell.key != record.key:
        raise ValueError("its key does not match its content")
    if side := find_changed_predictions(path.parent, record):
        raise UnmatchedPredictions(f"its predictions {escape_path(Path(side.name))} are absent or changed")
    return record


def parse_record(path: Path) -> Record:
    """A record, without a check of its predictions. Raises OSError and ValueError."""
    try:
        content = read_bytes(path)
        record = Record.model_validate_json(content)
        verify_digest(content, RECORD_DEPTH)
        return record
    except ValidationError as error:
        # another version explains the error better than the first field that does not fit
        version = _read_schema_version(path)
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema version {version}, this harness reads {SCHEMA_VERSION}") from error
        raise


def _read_schema_version(path: Path) -> object:
    """The schema version of an invalid record; the current one if the file holds none."""
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError):
        return SCHEMA_VERSION
    return content.get("schema_version", SCHEMA_VERSION) if isinstance(content, dict) else SCHEMA_VERSION


def read_document(path: Path, kind: type[Document]) -> Document:
    """The content of a JSON file; its digest, if it has one, is verified. Raises OSError and ValueError."""
    content = read_bytes(path)
    document = kind.model_validate_json(content)
    if not verify_digest(content) and document.sha256 is not None:
        raise ValueError("its sha256 is not the last of its members")
    return document.model_copy(update={"sha256": None})


def read_documents(folder: Path, kind: type[Profile]) -> tuple[dict[str, Profile], dict[Path, str]]:
    """Key -> document for the files of a folder, and path -> reason for damaged files."""
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
    """The path of a record's predictions if they are absent or do not match the record's hash; otherwise None."""
    if record.predictions is None:
        return None
    side = cells / record.predictions.path
    # no other name is accepted, so that a record cannot make us read a file outside the folder
    if record.predictions.path == f"{record.key}.parquet":
        with contextlib.suppress(OSError):
            if hashlib.sha256(read_bytes(side)).hexdigest() == record.predictions.sha256:
                return None
    return side


def _stat_files(path: Path) -> list[os.stat_result]:
    """The status of a record's file and of its predictions, as far as they exist."""
    files = []
    for file in (path, path.with_suffix(".parquet")):
        with contextlib.suppress(OSError):
            files.append(file.lstat())
    return files


def _build_stamp(path: Path) -> object:
    """A value that changes when a record or its predictions are replaced."""
    return [(file.st_ino, file.st_mtime_ns, file.st_size) for file in _stat_files(path)]


def _get_change_time(path: Path) -> float:
    """The time at which a record or its predictions were last written, in seconds since the epoch; 0 if unknown."""
    # a file server's clock may be ahead: a time in the future would keep the reader waiting
    now = time.time()
    return max((file.st_mtime for file in _stat_files(path) if file.st_mtime <= now), default=0.0)


def truncate_lines(lines: Sequence[str], most: int = 10) -> list[str]:
    """The first `most` lines, then the number of further ones."""
    hidden = len(lines) - most
    return [*lines[:most], f"and {hidden} more"] if hidden > 0 else list(lines)


class HasKey(Protocol):
    """A Cell or a PlannedCell."""

    @property
    def key(self) -> str: ...


ACell = TypeVar("ACell", bound=HasKey)


def select_missing_cells(cells: Sequence[ACell], records: dict[str, Record], *, retry: bool) -> list[ACell]:
    """The cells that have to run: those without a record, cancelled ones, and with `retry` failed and oom ones."""
    final_statuses = {"ok"} if retry else {"ok", "failed", "oom"}
    return [c for c in cells if c.key not in records or records[c.key].status not in final_statuses]


def describe_damage(error: Exception) -> str:
    """One line about a damaged file; for an invalid record, its first invalid field and the value found there."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        # for a missing field pydantic gives the whole surrounding object as its input
        given = "" if first["type"] in ("missing", "json_invalid") else f"; found: {quote(first['input'])}"
        return f"{shorten(place)}: {first['msg']}{given}" if place else str(first["msg"])
    if isinstance(error, OSError):
        return describe_os_error(error)
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def to_json(document: BaseModel) -> bytes:
    """The content of a JSON file, with its digest."""
    # json.dumps, not pydantic's writer: a script that only reformats the file with the json module keeps the digest
    depth = RECORD_DEPTH if isinstance(document, Record) else 1
    return append_digest(json.dumps(document.model_dump(mode="json"), indent=1).encode(), depth)


def encode_parquet(frame: pd.DataFrame) -> bytes:
    """The content of a parquet file with the predictions."""
    import io

    stream = io.BytesIO()
    frame.to_parquet(stream, index=False)
    return stream.getvalue()
