"""Merge the folders of runs, such as parts of one study from several machines, into one.

    of each cell in several folders
    one has ended better       the better one:  ok > failed, oom > cancelled
    all ok, equal scores       the first one
    all ok, different scores   refused, or with `keep_both` the first one; the others go to INTO/conflicts

The first folder is INTO, then the sources follow in the order of the command line. Nothing in a source is changed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.core.errors import UserError
from harness.core.files import describe_os_error, escape_path, list_files, read_bytes, replace_folder, write_atomically
from harness.core.profile import Profile
from harness.core.record import Record
from harness.core.run_info import Run
from harness.core.store import Store, truncate_lines
from harness.core.stored_files import check_no_import, find_changed_predictions, read_documents, to_json
from harness.core.text import count_having
from harness.models.adapter_files import FOLDER, is_saved
from harness.runner.store_check import TUNING

RANKS = {"ok": 2, "failed": 1, "oom": 1, "cancelled": 0}
CONFLICTS = "conflicts"
"""Folder of INTO with the records that others with different scores were preferred to."""
DECLARED = ("margin", "primary", "collapse_margin")


@dataclasses.dataclass(frozen=True)
class Merged:
    """Numbers of cells that were copied, that INTO had already, and with conflicts; lines about what differs."""

    copied: int
    kept: int
    conflicts: int
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Choice:
    """The record of a cell that is kept, the store that holds it, and those with other scores."""

    record: Record
    store: Store
    others: tuple[tuple[Record, Store], ...] = ()


@dataclasses.dataclass(frozen=True)
class _Part:
    """The stores of one part of a run, its cells or its trials, with the choice of each cell."""

    into: Store
    sources: Sequence[Store]
    choices: Mapping[str, _Choice]
    notes: Sequence[str]


def merge_folders(sources: Sequence[Path], into: Path, *, keep_both: bool = False) -> Merged:
    """Copy what the sources have and `into` lacks. Raises UserError; of a conflict before anything is written."""
    for source in sources:
        check_no_import(source)
        if not (source / "cells").is_dir():
            raise UserError(f"{escape_path(source)} holds no cells; give folders of runs")
        if source.resolve() == into.resolve():
            raise UserError(f"{escape_path(source)} is the folder to merge into; give another source")
    Store(into).prepare()
    with Store(into).lock():
        parts = [_plan_part(sources, into)]
        trials = [source / TUNING for source in sources if (source / TUNING / "cells").is_dir()]
        if trials:
            parts.append(_plan_part(trials, into / TUNING))
        conflicts = [choice for part in parts for choice in part.choices.values() if choice.others]
        if conflicts and not keep_both:
            raise UserError(_describe_conflicts(conflicts))
        copied, notes = 0, [note for part in parts for note in part.notes]
        for part in parts:
            part.into.prepare()
            copied += sum(_copy_choice(choice, part.into) for choice in part.choices.values())
            notes += _merge_profiles(part)
            notes += _merge_runs(part)
    total = sum(len(part.choices) for part in parts)
    return Merged(copied, total - copied, len(conflicts), tuple(notes))


# ---------------------------------------------------------------- which record is kept


def _plan_part(folders: Sequence[Path], into: Path) -> _Part:
    target = Store(into)
    sources = [Store(folder, may_write_index=False) for folder in folders]
    choices: dict[str, _Choice] = {}
    notes: list[str] = []
    for store in (target, *sources):
        records, skipped = store.read()
        notes += truncate_lines(skipped)
        for key, record in records.items():
            choices[key] = _choose(choices[key], record, store) if key in choices else _Choice(record, store)
    return _Part(target, sources, choices, notes)


def _choose(choice: _Choice, record: Record, store: Store) -> _Choice:
    """The better of two records of a cell; the first of equally good ones."""
    ranks = RANKS[choice.record.status], RANKS[record.status]
    if ranks[1] > ranks[0]:
        return _Choice(record, store)
    if ranks[0] > ranks[1] or record.status != "ok" or has_equal_scores(choice.record, record):
        return choice
    return dataclasses.replace(choice, others=(*choice.others, (record, store)))


def has_equal_scores(a: Record, b: Record) -> bool:
    """Whether two records have the same scores, bit by bit; NaN equals NaN."""
    return a.scores.keys() == b.scores.keys() and all(
        a.scores[name] == b.scores[name] or (math.isnan(a.scores[name]) and math.isnan(b.scores[name]))
        for name in a.scores
    )


def _describe_conflicts(conflicts: Sequence[_Choice]) -> str:
    first = conflicts[0]
    other, store = first.others[0]
    cell = first.record.cell
    count = count_having(len(conflicts), "cell")
    return (
        f"{count} different scores, such as {cell.task} {cell.title} {first.record.key}: {first.record.scores} in "
        f"{escape_path(first.store.out)}, {other.scores} in {escape_path(store.out)}; nothing was merged. --keep-both "
        f"takes those of the first folder and keeps the others in {CONFLICTS}/"
    )


# ---------------------------------------------------------------- copies


def _copy_choice(choice: _Choice, into: Store) -> bool:
    """Copy the kept record of a cell with its predictions and adapter, unless `into` has it; whether it was copied."""
    for number, (record, store) in enumerate(choice.others, start=1):
        folder = into.out / CONFLICTS / str(number)
        _make_folder(folder)
        _copy_record(record, store, folder)
    if choice.store is into:
        return False
    if choice.record.adapter is not None:
        _copy_adapter(choice.record, choice.store, into)
    _copy_record(choice.record, choice.store, into.cells)
    return True


def _copy_record(record: Record, store: Store, folder: Path) -> None:
    """Copy a record's files byte by byte, predictions first. Raises UserError if they have changed meanwhile."""
    path = store.cells / f"{record.key}.json"
    try:
        content = read_bytes(path)
        side = None if record.predictions is None else read_bytes(path.with_suffix(".parquet"))
    except OSError as error:
        raise UserError(f"cannot read {escape_path(path)}: {describe_os_error(error)}; merge again") from error
    if Record.model_validate_json(content) != record or find_changed_predictions(store.cells, record) is not None:
        raise UserError(f"{escape_path(path)} has changed while it was merged: a run writes there; merge again")
    if side is not None:
        write_atomically(folder / f"{record.key}.parquet", side)
    write_atomically(folder / path.name, content)


def _copy_adapter(record: Record, store: Store, into: Store) -> None:
    """Copy a saved adapter. Raises UserError if it is damaged or cannot be written."""
    source, target = (one.out / FOLDER / record.key for one in (store, into))
    if not is_saved(store.out, record):
        raise UserError(f"{escape_path(source)} is absent or changed since it was saved; run `store check` on its run")
    _make_folder(target.parent)
    try:
        if target.exists():
            shutil.rmtree(target)
        with replace_folder(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot copy {escape_path(source)}: {describe_os_error(error)}") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {escape_path(folder)}: {describe_os_error(error)}") from error


def _merge_profiles(part: _Part) -> Iterator[str]:
    """Copy profiles that INTO lacks; a line if it has others of the same methods, which stay."""
    differing = 0
    for store in part.sources:
        stored = part.into.profiles()
        profiles, _ = read_documents(store.profile_dir, Profile)
        for path in list_files(store.profile_dir, ".json"):
            if path.stem not in profiles:
                continue
            if path.stem not in stored:
                write_atomically(part.into.profile_dir / path.name, read_bytes(path))
            elif stored[path.stem] != profiles[path.stem]:
                differing += 1
    if differing:
        yield f"profiles that differ from those of an earlier folder, not copied: {differing}"


def _merge_runs(part: _Part) -> Iterator[str]:
    """Write run.json with the cells of all folders; a line for each declaration in which the folders differ."""
    runs = []
    for store in (part.into, *part.sources):
        try:
            runs.append((store, Run.model_validate(store.read_run())))
        except UserError as error:
            if store is not part.into:
                yield f"{error}; its cells are merged"
    if not runs:
        return
    first = runs[0][1]
    order = dict.fromkeys(key for _, run in runs for key in run.order)
    dropped = dict.fromkeys(line for _, run in runs for line in run.dropped)
    whole = first.model_copy(
        update={"order": [*order, *(k for k in part.choices if k not in order)], "dropped": [*dropped]}
    )
    write_atomically(part.into.out / "run.json", to_json(whole))
    for store, run in runs[1:]:
        for name in DECLARED:
            if getattr(run, name) != getattr(first, name):
                values = f"{json.dumps(getattr(run, name))}, kept: {json.dumps(getattr(first, name))}"
                yield f"{escape_path(store.out)} declares another {name.replace('_', ' ')}: {values}"
    tuned = [store.out / "tuned.json" for store in part.sources if (store.out / "tuned.json").is_file()]
    target = part.into.out / "tuned.json"
    if tuned and not target.exists():
        write_atomically(target, read_bytes(tuned[0]))
