"""The folder of a run.

    OUT/run.json                       the command, and the cells that it asked for
    OUT/cells/KEY.json, KEY.parquet    record and predictions of a cell
    OUT/profiles/KEY.json              memory and speed of a method
    OUT/index/HASH.segment             copies of many records, to read them faster; may be deleted
    OUT/set-aside/                     damaged files, moved out of the way
    OUT/.lock                          held by the command that writes

Any command may read, and write the index. Only the holder of `lock` writes the rest, and only its `repair` moves files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from harness.core.errors import UserError
from harness.core.files import check_writable, describe_os_error, escape_path, list_files, write_atomically
from harness.core.garbage import pause_collection
from harness.core.leftovers import remove_run_leftovers
from harness.core.profile import Profile
from harness.core.record import Predictions, Record
from harness.core.record_index import RecordIndex, scan
from harness.core.record_segment import Stamp
from harness.core.run_info import Run
from harness.core.stored_files import (
    UnmatchedPredictions,
    check_no_import,
    describe_damage,
    encode_parquet,
    read_document,
    read_documents,
    read_record,
    to_json,
)

if TYPE_CHECKING:
    import pandas as pd

SET_ASIDE, INDEX = "set-aside", "index"
SETTLE_SECONDS, POLL_SECONDS = 2.0, 0.05
"""Seconds without a change after which a record is no longer being written, and seconds between two reads of it."""


class Store:
    """The records, profiles and run.json in the folder of a run."""

    def __init__(self, out: Path, *, may_write_index: bool = True) -> None:
        self.out, self.cells, self.profile_dir = out, out / "cells", out / "profiles"
        self.index = RecordIndex(out / INDEX, may_write=may_write_index)

    def prepare(self, also: Sequence[str] = ()) -> None:
        """Create the folders and check that files can be written. Raises UserError, before any training.

        `also` names folders that are created later; those that exist already are checked too.
        """
        check_no_import(folder := self.out)
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
        from filelock import FileLock, Timeout

        path = self.out / ".lock"
        # flock only, never the file's existence: the kernel releases it when a run is killed
        file_lock = FileLock(path, timeout=0, fallback_to_soft=False)
        try:
            file_lock.acquire()
        except Timeout as error:
            raise UserError(f"--out {self.out}: another run writes there; wait, or use another") from error
        except OSError as error:
            raise UserError(
                f"--out {self.out}: cannot lock {path}: {describe_os_error(error)}; delete it, or use another"
            ) from error
        try:
            yield
        finally:
            file_lock.release()

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

        Moves nothing, and writes the index only. Raises UserError for a folder that cannot be read.
        """
        records, damaged = self._read_records()
        return records, [f"{escape_path(path)}: {why}; skipped" for path, why in damaged.items()]

    def repair(self, *, trust_index: bool = True) -> tuple[dict[str, Record], list[str]]:
        """Key -> record, and one line per damaged file, which is moved to set-aside/. The caller must hold the lock.

        Damaged profiles are moved too, and folders that have the name of a file. Temporary files of a killed run are
        deleted. Without `trust_index` every record is read from its file, and the index is written anew.
        """
        remove_run_leftovers(self.out)
        if not trust_index:
            self.index.forget()
        records, damaged = self._read_records(wait=False)
        damaged |= read_documents(self.profile_dir, Profile)[1]
        lines = [f"{self.set_aside(path, why)}; its content is computed again" for path, why in damaged.items()]
        files = [self.out / "run.json", *list_files(self.cells, ".parquet")]
        blocking = [path for path in files if path.is_dir() and not path.is_symlink()]
        return records, [*lines, *(self.set_aside(path, "a folder, not a file") for path in blocking)]

    @pause_collection()
    def _read_records(self, wait: bool = True) -> tuple[dict[str, Record], dict[Path, str]]:
        """Key -> record, and path -> reason for damaged files.

        A run replaces predictions and record one after the other. With `wait`, a record that does not match its
        predictions is therefore read again until its files have not changed for `SETTLE_SECONDS`. The run itself, which
        is the only writer, need not wait.
        """
        damaged: dict[Path, str] = {}
        began = time.monotonic()
        file_stamps = self._scan()
        records = self.index.find(file_stamps)
        parsed: dict[str, Record] = {}
        paths = [self.cells / f"{stem}.json" for stem in sorted(file_stamps) if stem not in records]
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
                    parsed[record.key] = self.index.shared.share(record)
                    damaged.pop(path, None)
            recent = [path for path in sorted(unmatched) if _get_change_time(path) > time.time() - SETTLE_SECONDS]
            if not recent or not wait or time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
            paths = [path for path in recent if _build_stamp(path) != stamps[path]]
        self.index.add(parsed.values(), file_stamps, began)
        records |= parsed
        # a file that has vanished meanwhile was replaced or moved by a run: it is not damaged
        damaged = {path: why for path, why in damaged.items() if os.path.lexists(path)}
        return {key: records[key] for key in sorted(records)}, damaged

    def _scan(self) -> dict[str, Stamp | None]:
        """Stem of each record's file -> its stamp. Raises UserError for a folder that cannot be read."""
        try:
            return scan(self.cells)
        except OSError:
            return dict.fromkeys(path.stem for path in list_files(self.cells, ".json"))

    def set_aside(self, path: Path, why: str) -> str:
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
        check_no_import(self.out)
        try:
            return read_document(path, Run).model_dump()
        except (OSError, ValueError) as error:
            why = describe_os_error(error) if isinstance(error, OSError) else describe_damage(error)
            raise UserError(
                f"{escape_path(self.out)} holds no run (no readable run.json: {why}); give the folder of `run`, "
                "or run its command again"
            ) from error


# ---------------------------------------------------------------- changes of a file


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
