"""WMT16 Romanian and English news translation, both directions, scored on newstest2016."""

from __future__ import annotations

import importlib.resources
import itertools
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, ClassVar

from harness.core.errors import Absent, UserError, build_unknown_error
from harness.core.method import (
    GENERATION_OPTIONS,
    SUITES,
    Average,
    Example,
    SourceRequest,
    Suite,
    SuitePreset,
    Task,
    TaskData,
)
from harness.core.metric import resolve_metric
from suites.sources.content import find_file
from suites.sources.fingerprint import compute_fingerprint
from suites.sources.parallel import Direction, convert_hub_pairs, load_hub_splits, read_given_pairs, read_pairs

SCORES = ("bleu", "chrf2", "ter")
# Only Romanian output is also scored without diacritics: the literature reports that figure.
TASKS = (
    Task("en-ro", (), ("test",), (*SCORES, "bleu_normalised"), "translation"),
    Task("ro-en", (), ("test",), SCORES, "translation"),
)
REPOSITORY, CONFIGURATION = "wmt/wmt16", "ro-en"
STEMS = {"train": "train", "validation": "newsdev2016", "test": "newstest2016"}
"""Split -> stem of its files STEM.en and STEM.ro."""
HINT = "give --data-dir DIR with newstest2016.en and newstest2016.ro in it"

BOTH = (("en", "ro"), ("ro", "en"))
Rows = dict[str, list[Example]]


@SUITES.register("wmt16")
class Wmt16(Suite):
    """News translation of WMT16 between Romanian and English. Each cell is scored once, on the official test set."""

    name = "wmt16"
    version = 2
    summary = "news translation between English and Romanian, scored on newstest2016 (TER: lower is better)"
    options = GENERATION_OPTIONS
    presets: ClassVar[Mapping[str, SuitePreset]] = {
        "quick": SuitePreset(
            "embedded:seq2seq", {"max_steps": 200, "max_length": 64, "max_target_length": 64, "eval_rows": 200}
        ),
        # mBART (arXiv 2001.08210) was pretrained on Romanian text and on no translations, unlike T5; label smoothing
        # and beam width are those of its own fine-tuning.
        "paper": SuitePreset("facebook/mbart-large-cc25", {"beams": 5, "label_smoothing": 0.2}),
    }
    tasks = {task.name: task for task in TASKS}  # noqa: RUF012 - read only
    averages = (Average("wmt16", {task.name: ("bleu",) for task in TASKS}),)

    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Sentence pairs "train" and "test". Raises UserError naming file, line and what was expected."""
        direction = Direction.of(self.get_task(task).name)
        rows, notes = self._read_given_files(task, request, direction)
        missing = [split for split in ("train", "test") if split not in rows]
        missing_rows, more = self._read_missing_splits(request, direction, missing) if missing else ({}, [])
        splits = {split: tuple((rows | missing_rows)[split]) for split in ("train", "test")}
        source = f"hub {REPOSITORY}" if request.kind == "hub" else request.kind
        source = source if not rows else f"{source} and data-file" if missing else "data-file"
        return TaskData(splits, compute_fingerprint(splits), source, (*notes, *more))

    def _read_given_files(self, task: str, request: SourceRequest, direction: Direction) -> tuple[Rows, list[str]]:
        """Splits from single files, which the user gave for the task or for the suite, and notes."""
        rows: Rows = {}
        notes = []
        for (name, split), paths in request.files.items():
            if name not in (task, self.name):
                continue
            if split not in ("train", "test"):
                raise build_unknown_error(f"split of {name}", split, ("train", "test"))
            if split in rows:
                raise UserError(f"--data-file: {split} is given for {self.name} and for {task}; give it once")
            rows[split], more = read_given_pairs(f"{name}/{split}", paths, direction, by_suite=name == self.name)
            listed = ", ".join(path.name for path in paths)
            notes += [f"partial: {split} is read from {listed}, not official files", *more]
        return rows, notes

    def _read_missing_splits(
        self, request: SourceRequest, direction: Direction, missing: list[str]
    ) -> tuple[Rows, list[str]]:
        if request.kind == "hub":
            return _read_hub(direction, missing)
        if request.kind == "embedded":
            return _read_folder(importlib.resources.files("suites.embedded") / "data" / self.name, direction, missing)
        if request.data_dir is None:
            raise Absent(f"{self.name}: no folder given; {HINT}")
        return _read_folder(_find_folder(request.data_dir), direction, missing)

    def notes(self, task: str) -> dict[str, Any]:
        """sacrebleu's signature of each score."""
        definition = self.get_task(task)
        metrics = [resolve_metric(name, definition.eval_splits)[0] for name in definition.metrics]
        return {"signatures": {metric.name: metric.signature() for metric in metrics}}


def _find_folder(data_dir: Path) -> Path:
    """`data_dir` or its folder wmt16, whichever has the test set. Raises Absent."""
    places = (data_dir, data_dir / "wmt16")
    for folder, sides in itertools.product(places, BOTH):
        if _find_sides(folder, STEMS["test"], Direction(*sides)):
            return folder
    raise Absent(f"wmt16: no newstest2016.en and newstest2016.ro in {places[0]} or {places[1]}; {HINT}")


def _read_folder(folder: Traversable, direction: Direction, missing: list[str]) -> tuple[Rows, list[str]]:
    """The missing splits from STEM.en and STEM.ro; if there is no train split, newsdev2016 replaces it, with a note."""
    rows: Rows = {}
    notes: list[str] = []
    for split in missing:
        used = split
        if split == "train" and not _find_sides(folder, "train", direction):
            used = "validation"
            notes.append("derived: no train.en and train.ro, so newsdev2016 serves as the training part: not official")
        paths = _find_sides(folder, STEMS[used], direction)
        for side in (direction.source, direction.target):
            if side not in paths:
                path, pairs = folder / f"{STEMS[used]}.{side}", f"--data-file wmt16/{split}=FILE.en,FILE.ro"
                raise Absent(f"{path}: no such file, expected both sides of {STEMS[used]}; {HINT}, or {pairs}")
        rows[split], more = read_pairs(paths[direction.source], paths[direction.target], split)
        notes += more
    return rows, notes


def _find_sides(folder: Traversable, stem: str, direction: Direction) -> dict[str, Traversable]:
    """Language -> file of a stem, compressed or not: STEM.en, else WMT's SGML (STEM-enro-src.en.sgm).

    SGML files of the direction itself come first; those of the other direction have the same sentences.
    """
    source, target = direction.source, direction.target
    plain = {side: find_file(folder, f"{stem}.{side}") for side in (source, target)}
    if not any(plain.values()):
        for one, two in ((source, target), (target, source)):
            names = {one: f"{stem}-{one}{two}-src.{one}.sgm", two: f"{stem}-{one}{two}-ref.{two}.sgm"}
            plain = {side: find_file(folder, name) for side, name in names.items()}
            if any(plain.values()):
                break
    return {side: path for side, path in plain.items() if path is not None}


def _read_hub(direction: Direction, missing: list[str]) -> tuple[Rows, list[str]]:
    loaded = load_hub_splits(REPOSITORY, CONFIGURATION, HINT)
    if absent := [split for split in missing if split not in loaded]:
        raise Absent(f"{REPOSITORY}/{CONFIGURATION}: the hub has {', '.join(loaded)}, not {', '.join(absent)}")
    rows: Rows = {}
    notes: list[str] = []
    for split in missing:
        rows[split], dropped = convert_hub_pairs(loaded[split], direction, split)
        notes += dropped
    return rows, notes
