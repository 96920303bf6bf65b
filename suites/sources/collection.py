"""The rows of a suite's tasks, read from a request's source and from single files, checked and hashed.

folder of official files | hub | embedded data   -> splits that no single file replaces
--data-file TASK/SPLIT=PATH                      -> splits that replace or complete them
both -> Example rows by split -> TaskData with a fingerprint and notes
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.core.errors import UserError, build_unknown_error
from harness.core.method import Example, SourceRequest, Task, TaskData
from suites.sources import folders, hub
from suites.sources.fingerprint import compute_fingerprint
from suites.sources.layouts import FileLayout, RecoveredSplits
from suites.sources.rows import read_examples
from suites.sources.tables import DataTable, open_table


@dataclasses.dataclass(frozen=True)
class Collection:
    """A suite's name (also its folder), its hub repository and the layout of each task's files."""

    suite: str
    repository: str
    layouts: Mapping[str, FileLayout]

    def load(self, task: Task, request: SourceRequest) -> TaskData:
        """Train and eval splits of a task. Raises UserError naming what is missing or wrong, and where.

        Notes begin with their kind: `partial:` a file that is not official, `dropped:` rows left out,
        `derived:` a split made in a way that is not official, `read:` how a file was read.
        """
        splits = ("train", *task.eval_splits)
        for name, split in request.files:
            if name == self.suite:
                raise UserError(
                    f"--data-file {name}/{split}: each task of {name} has its own files; name one: TASK/{split}"
                )
        given_files = _collect_given_files(task, splits, request)
        missing = [split for split in splits if split not in given_files]
        # Splits that a file replaces are not looked for: the official folder may lack them.
        recovered = self._read_missing_splits(task.name, request, missing) if missing else RecoveredSplits({})
        tables = {
            split: [recovered.tables[split]] if split in recovered.tables else _open_tables(given_files[split])
            for split in splits
        }
        notes = [_describe_partial(split, paths) for split, paths in given_files.items()] + list(recovered.notes)
        rows = {split: self._read(task.name, split, tables[split], notes) for split in splits}
        source = f"hub {self.repository}" if request.kind == "hub" else request.kind
        # Records name where rows came from; "and data-file" says that only some splits are the source's own.
        source = source if not given_files else f"{source} and data-file" if missing else "data-file"
        return TaskData(rows, compute_fingerprint(rows), source, tuple(notes))

    def _read_missing_splits(self, task: str, request: SourceRequest, missing: Sequence[str]) -> RecoveredSplits:
        if request.kind == "hub":
            return hub.fetch(self.repository, task, self.layouts[task], missing)
        if request.kind == "embedded":
            return folders.read_embedded(self.suite, task, missing)
        if request.data_dir is None:
            raise UserError(f"{self.suite}/{task}: no folder given; give --data-dir DIR, the folder of official files")
        return folders.read_official(self.suite, task, self.layouts[task], request.data_dir, missing)

    def _read(self, task: str, split: str, tables: Sequence[DataTable], notes: list[str]) -> tuple[Example, ...]:
        rows: list[Example] = []
        for table in tables:
            read, dropped = read_examples(table, self.layouts[task], split, start=len(rows))
            rows += read
            notes += dropped
        return tuple(rows)


def _collect_given_files(task: Task, splits: Sequence[str], request: SourceRequest) -> dict[str, tuple[Path, ...]]:
    """The request's files of this task by split; `dev` is read as `validation`."""
    files: dict[str, tuple[Path, ...]] = {}
    for (name, split_name), paths in request.files.items():
        if name != task.name:
            continue
        split = split_name.replace("dev", "validation", 1) if split_name.startswith("dev") else split_name
        if split not in splits:
            raise build_unknown_error(f"split of {name}", split_name, splits)
        if split in files:
            raise UserError(f"{name}/{split} is given twice, as '{split}' and as its alias; give it once")
        files[split] = paths
    return files


def _open_tables(paths: Sequence[Path]) -> list[DataTable]:
    return [open_table(path) for path in paths]


def _describe_partial(split: str, paths: Sequence[Path]) -> str:
    """The note on a file that is not official."""
    # Names without folders: records are published, and a folder may name its user.
    return f"partial: {split} is read from {', '.join(path.name for path in paths)}, not an official file"
