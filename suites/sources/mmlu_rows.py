"""All rows of MMLU: questions from a request's source, instructions to train on from there or from single files."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from harness.core.errors import Absent, UserError, unknown
from harness.core.method import Example, SourceRequest, TaskData
from suites.sources import hub, mmlu_files
from suites.sources.content import find_file
from suites.sources.fingerprint import fingerprint
from suites.sources.instructions import from_records, numbered, read_instructions

QUESTIONS, INSTRUCTIONS = "cais/mmlu", "tatsu-lab/alpaca"
Rows = tuple[Example, ...]


def load_rows(request: SourceRequest) -> TaskData:
    """Splits train (instruction, input and answer), dev and test (question, choices and letter). Raises UserError."""
    given = _given(request)
    if request.kind == "hub":
        questions = _hub_questions()
        train, notes = read_instructions(given) if given else _hub_instructions()
    else:
        folder = _folder(request)
        questions = mmlu_files.read_questions(folder)
        files, found = (given, ()) if given else _own_instructions(folder)
        train, notes = read_instructions(files)
        notes = [*found, *notes]
    if request.kind != "embedded":
        notes += mmlu_files.missing_note(questions["test"])
    if given:
        names = ", ".join(path.name for path in given)
        notes.insert(0, f"partial: train is read from {names}, not an official file")
    source = {"hub": f"hub {QUESTIONS}"}.get(request.kind, request.kind) + (" and data-file" if given else "")
    splits: Mapping[str, Rows] = {"train": train, **questions}
    return TaskData(splits, fingerprint(splits), source, tuple(notes))


def _given(request: SourceRequest) -> Sequence[Path]:
    for task, split in request.files:
        if task == "mmlu" and split != "train":
            raise unknown("split of mmlu in --data-file", split, ["train"])
    return request.files.get(("mmlu", "train"), ())


def _folder(request: SourceRequest) -> Traversable:
    if request.kind == "embedded":
        return importlib.resources.files("suites.embedded") / "data" / "mmlu"
    if request.data_dir is None:
        raise Absent("mmlu: no folder given; give --data-dir DIR, the folder of official files")
    return mmlu_files.question_folder(request.data_dir)


def _own_instructions(folder: Traversable) -> tuple[Sequence[Traversable], tuple[str, ...]]:
    """Those beside the questions; the generated data have theirs in their folder."""
    own = find_file(folder, "train.jsonl")
    if own is not None:
        return [own], ()
    assert isinstance(folder, Path)
    return mmlu_files.instruction_files(folder)


def _hub_questions() -> dict[str, Rows]:
    loaded = _fetch(QUESTIONS, "all")
    found: dict[str, Rows] = {}
    for part in mmlu_files.PARTS:
        counts: dict[str, int] = {}
        rows = []
        for row in loaded[part]:
            number = counts.get(row["subject"], 0)
            counts[row["subject"]] = number + 1
            lead = row["subject"] if part == "test" else f"dev/{row['subject']}"
            if row["answer"] not in range(4):
                raise UserError(f"{QUESTIONS} {lead}/{number}: answer {row['answer']!r}, expected 0 to 3")
            rows.append(Example(f"{lead}/{number}", (row["question"], *row["choices"]), int(row["answer"])))
        found[part] = tuple(sorted(rows, key=lambda e: mmlu_files.subject_of(e)))  # as from files; stable
    return found


def _hub_instructions() -> tuple[Rows, list[str]]:
    return numbered(from_records(INSTRUCTIONS, _fetch(INSTRUCTIONS, None)["train"]), several=False)


def _fetch(repository: str, name: str | None) -> Mapping[str, Sequence[dict[str, Any]]]:
    return hub.load_splits(repository, name, "give --data-dir DIR with mmlu/data/test/ in it")
