"""Splits from a folder with one folder a task: the official download, and the generated data in the package."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from harness.core.errors import Absent
from suites.sources.content import find_file
from suites.sources.layouts import Layout, Recovered
from suites.sources.tables import open_table


def stem(split: str) -> str:
    """The file of a split: validation_matched is in dev_matched."""
    return split.replace("validation", "dev")


def official(suite: str, task: str, layout: Layout, data_dir: Path, wanted: Sequence[str]) -> Recovered:
    """Splits of the official download; `data_dir` is the suite's folder or its parent.

    Raises UserError where the task's folder or one of the wanted splits is not there.
    """
    places = [data_dir / layout.folder, data_dir / suite / layout.folder]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        looked = f"no folder {layout.folder} in {data_dir} or {data_dir / suite}"
        raise Absent(f"{suite}/{task}: {looked}; {_files_hint(task, wanted)}, or leave the task out")
    found = read_folder(folder, wanted)
    absent = [split for split in wanted if split not in found.tables]
    if absent and layout.recover:
        recovered = layout.recover(folder, absent)
        found = Recovered({**found.tables, **recovered.tables}, recovered.notes)
        absent = [split for split in wanted if split not in found.tables]
    if absent:
        files = ", ".join(f"{stem(split)}.tsv" for split in absent)
        there = ", ".join(sorted(item.name for item in folder.iterdir())) or "nothing"
        raise Absent(f"{suite}/{task}: no {files} in {folder} (found: {there}); {_files_hint(task, absent)}")
    return found


def embedded(suite: str, task: str, wanted: Sequence[str]) -> Recovered:
    """Splits of the generated data that ship with the package."""
    folder = importlib.resources.files("suites.embedded") / "data" / suite / task
    found = read_folder(folder, wanted)
    if absent := [split for split in wanted if split not in found.tables]:
        raise Absent(f"{suite}/{task}: the package has no embedded {', '.join(absent)}; install it anew")
    return found


def read_folder(folder: Traversable, wanted: Sequence[str]) -> Recovered:
    """The wanted splits that the folder holds as SPLIT.tsv, compressed or not."""
    paths = {split: find_file(folder, f"{stem(split)}.tsv") for split in wanted}
    return Recovered({split: open_table(path) for split, path in paths.items() if path is not None})


def _files_hint(task: str, splits: Sequence[str]) -> str:
    return "give " + " ".join(f"--data-file {task}/{split}=PATH" for split in splits)
