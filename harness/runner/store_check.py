"""Look at every file of a run's folder: what is damaged, and what nothing refers to.

check  ──> one line per problem
gc     ──> the files that can be deleted: leftovers of killed processes, checkpoints of finished packs, files without
           a record, segments of the index that are out of date
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.core.errors import UserError
from harness.core.files import describe_os_error, escape_path, list_files
from harness.core.leftovers import list_run_leftovers
from harness.core.profile import Profile
from harness.core.record import Record
from harness.core.record_index import RecordIndex, scan
from harness.core.record_segment import Stamp
from harness.core.run_info import Run
from harness.core.store import INDEX, Store
from harness.core.stored_files import (
    check_no_import,
    describe_damage,
    parse_record,
    read_document,
    read_documents,
    read_record,
)
from harness.models.adapter_files import BASES, FOLDER, find_changed_files
from harness.training.checkpoint import build_file_name

FINAL = ("ok", "failed", "oom")
"""Statuses of a cell that has ended; a cancelled one runs again, from its checkpoint if there is one."""
TUNING = "tuning"
"""Folder of the trials, which is laid out as a run's own."""


def list_stores(out: Path) -> list[Store]:
    """The stores in a run's folder: its own, and that of its trials. Raises UserError for a folder without cells."""
    check_no_import(out)
    if not (out / "cells").is_dir():
        raise UserError(f"{escape_path(out)} holds no cells; give the folder of a run")
    return [Store(folder) for folder in (out, out / TUNING) if (folder / "cells").is_dir()]


# ---------------------------------------------------------------- check


def check_folder(out: Path) -> tuple[int, list[str]]:
    """The number of good records in a run's folder, and one line per problem. Reads every file, and writes nothing.

    Raises UserError for a folder without cells.
    """
    count, lines = 0, []
    for store in list_stores(out):
        stamps = scan(store.cells)
        records, damaged = read_every_record(store)
        count += len(records)
        damaged |= read_documents(store.profile_dir, Profile)[1]
        lines += [f"{escape_path(path)}: {why}" for path, why in sorted(damaged.items())]
        lines += _check_run(store)
        for record in records.values():
            if names := find_changed_files(store.out, record):
                folder = store.out / FOLDER / record.key
                lines.append(f"{escape_path(folder)}: {', '.join(names)} absent or changed since it was saved")
        lines += [f"{escape_path(one.path)}: {one.why}" for one in _list_orphans(store, records)]
        lines += _check_index(store, stamps, records)
    lines += [f"{escape_path(path)}: left by a killed process" for path in list_run_leftovers(out)]
    return count, lines


def read_every_record(store: Store) -> tuple[dict[str, Record], dict[Path, str]]:
    """Key -> record, and path -> what is wrong with a file, from the record files alone."""
    records: dict[str, Record] = {}
    damaged: dict[Path, str] = {}
    for path in list_files(store.cells, ".json"):
        try:
            record = read_record(path)
            records[record.key] = record
        except (OSError, ValueError, RecursionError) as error:
            damaged[path] = _describe_copy(path) or describe_damage(error)
    return records, damaged


def _describe_copy(path: Path) -> str:
    """What is said of a copy of a record under another name; '' of any other file."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        key = parse_record(path).key
        if key != path.stem and path.with_name(f"{key}.json").exists():
            return f"holds the cell {key} a second time"
    return ""


def _check_run(store: Store) -> list[str]:
    path = store.out / "run.json"
    try:
        read_document(path, Run)
    except (OSError, ValueError) as error:
        why = describe_os_error(error) if isinstance(error, OSError) else describe_damage(error)
        return [f"{escape_path(path)}: {why}; the run's command writes it again"]
    return []


def _check_index(store: Store, stamps: Mapping[str, Stamp | None], records: Mapping[str, Record]) -> list[str]:
    """Lines about segments of the index that do not read, and about records that it has wrong."""
    index = RecordIndex(store.out / INDEX, may_write=False)
    found = index.find(stamps)
    lines = []
    for name, why in index.list_useless():
        lines.append(f"{escape_path(index.folder / name)}: {why}; `store repair` writes it again")
    for key in sorted(found):
        # the file may have been replaced since the scan, so that it must have the same stamp still
        if key in records and found[key] != records[key] and scan(store.cells).get(key) == stamps[key]:
            lines.append(f"{escape_path(index.folder)}: wrong about {key}; `store repair` writes it again")
    return lines


# ---------------------------------------------------------------- files that nothing needs


@dataclasses.dataclass(frozen=True)
class Unneeded:
    """A file or folder that can be deleted, why, and its size in bytes."""

    path: Path
    why: str

    @property
    def size(self) -> int:
        if not self.path.is_dir() or self.path.is_symlink():
            return self.path.lstat().st_size
        return sum(file.lstat().st_size for file in self.path.rglob("*") if not file.is_dir())


def list_unneeded(out: Path) -> list[Unneeded]:
    """What `store gc` deletes from a run's folder. Raises UserError for a folder without cells."""
    found = [Unneeded(path, "left by a killed process") for path in list_run_leftovers(out)]
    for store in list_stores(out):
        stamps = scan(store.cells)
        records, damaged = store.read()
        # a damaged record may be repaired by hand, and then needs its predictions and its checkpoint
        stems = {path.stem for path in list_files(store.cells, ".json")} if damaged else set()
        found += [one for one in _list_orphans(store, records) if one.path.stem not in stems]
        found += _list_finished_checkpoints(store, records)
        index = RecordIndex(store.out / INDEX, may_write=False)
        index.find(stamps)
        found += [Unneeded(index.folder / name, why) for name, why in index.list_useless()]
    return found


def _list_orphans(store: Store, records: Mapping[str, Record]) -> Iterator[Unneeded]:
    """Predictions and adapters that no record names, and bases that no adapter names."""
    for path in list_files(store.cells, ".parquet"):
        record = records.get(path.stem)
        if record is None and not path.with_suffix(".json").exists():
            yield Unneeded(path, "predictions without a record")
        elif record is not None and record.predictions is None:
            yield Unneeded(path, "predictions that their record does not name")
    for path in _list_folder(store.out / FOLDER):
        record = records.get(path.name)
        if record is None and not (store.cells / f"{path.name}.json").exists():
            yield Unneeded(path, "an adapter without a record")
    bases = _list_folder(store.out / BASES)
    if bases:
        configs = [file.read_text(errors="replace") for file in (store.out / FOLDER).glob("*/adapter_config.json")]
        for path in bases:
            if not any(path.name in text for text in configs):
                yield Unneeded(path, "a base that no adapter names")


def _list_folder(folder: Path) -> list[Path]:
    """The visible entries of a folder, by name; none of a folder that does not exist."""
    with contextlib.suppress(OSError):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return []


def _list_finished_checkpoints(store: Store, records: Mapping[str, Record]) -> Iterator[Unneeded]:
    """Checkpoints of packs all of whose cells have ended."""
    paths = list_files(store.out / "checkpoints", ".pt")
    if not paths:
        return
    ended = {key for key, record in records.items() if record.status in FINAL}
    packs = {tuple(record.pack.keys) for record in records.values() if record.pack}
    # the name is a hash of the cells, so that no file need be read
    names = {build_file_name(keys) for keys in packs if set(keys) <= ended}
    for path in paths:
        if path.name in names:
            yield Unneeded(path, "the checkpoint of a finished pack")


def delete_unneeded(out: Path) -> tuple[list[Unneeded], int]:
    """Delete what `list_unneeded` lists; returns it, and the number of bytes. Raises UserError, also while a run writes
    there.
    """
    deleted, size = [], 0
    with list_stores(out)[0].lock():
        for one in list_unneeded(out):
            try:
                bytes_of_one = one.size
                if one.path.is_dir() and not one.path.is_symlink():
                    shutil.rmtree(one.path)
                else:
                    os.unlink(one.path)
            except OSError as error:
                raise UserError(f"cannot delete {escape_path(one.path)}: {describe_os_error(error)}") from error
            deleted.append(one)
            size += bytes_of_one
    return deleted, size


# ---------------------------------------------------------------- repair


def repair_folder(out: Path) -> tuple[int, list[str]]:
    """The number of good records after a repair, and one line per file that was moved to set-aside/.

    Nothing is deleted except leftovers of killed processes and the index, which is written anew. Raises UserError, also
    while a run writes there.
    """
    count, lines = 0, []
    stores = list_stores(out)
    with stores[0].lock():
        for store in stores:
            records, moved = store.repair(trust_index=False)
            count += len(records)
            lines += moved
            for one in list(_list_orphans(store, records)):
                if one.path.suffix == ".parquet":
                    lines.append(store.set_aside(one.path, one.why))
    return count, lines
