"""Splits from a folder with a subfolder for each task: the official download, or the generated data of the package."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from harness.core.errors import Absent
from suites.sources.content import find_file
from suites.sources.layouts import FileLayout, RecoveredSplits
from suites.sources.tables import open_table


def get_stem(split: str) -> str:
    """The name of a split's file without extension: dev_matched for validation_matched."""
    return split.replace("validation", "dev")


def read_official(suite: str, task: str, layout: FileLayout, data_dir: Path, wanted: Sequence[str]) -> RecoveredSplits:
    """The wanted splits of the official download; `data_dir` is the suite's folder or its parent.

    Raises Absent if the task's folder or one of the wanted splits does not exist.
    """
    places = [data_dir / layout.folder, data_dir / suite / layout.folder]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        looked = f"no folder {layout.folder} in {data_dir} or {data_dir / suite}"
        raise Absent(f"{suite}/{task}: {looked}; {_format_files_hint(task, wanted)}, or leave the task out")
    splits = read_folder(folder, wanted)
    absent = [split for split in wanted if split not in splits.tables]
    # Some releases have a split under another name or form, e.g. MRPC before GLUE split it.
    if absent and layout.recover:
        recovered = layout.recover(folder, absent)
        splits = RecoveredSplits({**splits.tables, **recovered.tables}, recovered.notes)
        absent = [split for split in wanted if split not in splits.tables]
    if absent:
        files = ", ".join(f"{get_stem(split)}.tsv" for split in absent)
        there = ", ".join(sorted(item.name for item in folder.iterdir())) or "nothing"
        raise Absent(f"{suite}/{task}: no {files} in {folder} (found: {there}); {_format_files_hint(task, absent)}")
    return splits


def read_embedded(suite: str, task: str, wanted: Sequence[str]) -> RecoveredSplits:
    """The wanted splits of the generated data in the package. Raises Absent."""
    folder = importlib.resources.files("suites.embedded") / "data" / suite / task
    splits = read_folder(folder, wanted)
    if absent := [split for split in wanted if split not in splits.tables]:
        raise Absent(f"{suite}/{task}: the package has no embedded {', '.join(absent)}; reinstall it")
    return splits


def read_folder(folder: Traversable, wanted: Sequence[str]) -> RecoveredSplits:
    """Those of the wanted splits that the folder has as SPLIT.tsv, compressed or not."""
    paths = {split: find_file(folder, f"{get_stem(split)}.tsv") for split in wanted}
    return RecoveredSplits({split: open_table(path) for split, path in paths.items() if path is not None})


def _format_files_hint(task: str, splits: Sequence[str]) -> str:
    return "give " + " ".join(f"--data-file {task}/{split}=PATH" for split in splits)
