"""The rows of MMLU.

questions (dev: solved, test: scored)   <- folder | hub | embedded data
instructions (train)                    <- --data-file mmlu/train=FILE, else the same source
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from harness.core.errors import Absent, UserError, build_unknown_error
from harness.core.method import Example, SourceRequest, TaskData
from suites.sources import hub, mmlu_files
from suites.sources.content import find_file
from suites.sources.fingerprint import compute_fingerprint
from suites.sources.instructions import build_examples, collect_records, read_instructions

QUESTIONS, INSTRUCTIONS = "cais/mmlu", "tatsu-lab/alpaca"
Rows = tuple[Example, ...]


def load_rows(request: SourceRequest) -> TaskData:
    """Splits train (instruction, input and answer), dev and test (question, choices and letter). Raises UserError."""
    given_files = _get_given_files(request)
    if request.kind == "hub":
        questions = _load_hub_questions()
        train, notes = read_instructions(given_files) if given_files else _load_hub_instructions()
    else:
        folder = _find_folder(request)
        questions = mmlu_files.read_questions(folder)
        files, file_notes = (given_files, ()) if given_files else _find_instructions(folder)
        train, notes = read_instructions(files)
        notes = [*file_notes, *notes]
    if request.kind != "embedded":
        notes += mmlu_files.describe_missing(questions["test"])
    if given_files:
        names = ", ".join(path.name for path in given_files)
        notes.insert(0, f"partial: train is read from {names}, not an official file")
    source = {"hub": f"hub {QUESTIONS}"}.get(request.kind, request.kind) + (" and data-file" if given_files else "")
    splits: Mapping[str, Rows] = {"train": train, **questions}
    return TaskData(splits, compute_fingerprint(splits), source, tuple(notes))


def _get_given_files(request: SourceRequest) -> Sequence[Path]:
    for task, split in request.files:
        if task == "mmlu" and split != "train":
            raise build_unknown_error("split of mmlu in --data-file", split, ["train"])
    return request.files.get(("mmlu", "train"), ())


def _find_folder(request: SourceRequest) -> Traversable:
    if request.kind == "embedded":
        return importlib.resources.files("suites.embedded") / "data" / "mmlu"
    if request.data_dir is None:
        raise Absent("mmlu: no folder given; give --data-dir DIR, the folder of official files")
    return mmlu_files.find_question_folder(request.data_dir)


def _find_instructions(folder: Traversable) -> tuple[Sequence[Traversable], tuple[str, ...]]:
    """Instruction files beside the questions; the generated data has them in its own folder."""
    train_file = find_file(folder, "train.jsonl")
    if train_file is not None:
        return [train_file], ()
    assert isinstance(folder, Path)
    return mmlu_files.find_instruction_files(folder)


def _load_hub_questions() -> dict[str, Rows]:
    loaded = _fetch(QUESTIONS, "all")
    questions: dict[str, Rows] = {}
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
        # By subject as in the files; sorting is stable, so that questions of a subject keep their order.
        questions[part] = tuple(sorted(rows, key=mmlu_files.get_subject))
    return questions


def _load_hub_instructions() -> tuple[Rows, list[str]]:
    return build_examples(collect_records(INSTRUCTIONS, _fetch(INSTRUCTIONS, None)["train"]), several=False)


def _fetch(repository: str, name: str | None) -> Mapping[str, Sequence[dict[str, Any]]]:
    return hub.load_splits(repository, name, "give --data-dir DIR with mmlu/data/test/ in it")
