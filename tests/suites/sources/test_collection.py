"""Single files complete or override a source, and are told as partial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.core.method import SourceRequest, TaskData
from suites.glue import Glue
from tests.suites.sources.files import MNLI_HEADER, mnli_row, write

QNLI = ("index", "question", "sentence", "label")
Files = dict[tuple[str, str], tuple[Path, ...]]


def load(task: str, files: Files, folder: Path | None = None) -> TaskData:
    return Glue().load(task, SourceRequest("data-dir" if folder else "embedded", folder, files))


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """A reduced file: no index, class ids for labels."""
    return write(tmp_path / "some.tsv", [("question", "sentence", "label"), ("q", "s", "1"), ("r", "t", "0")])


def test_a_file_completes_a_partial_folder(tmp_path: Path, train: Path) -> None:
    write(tmp_path / "QNLI" / "dev.tsv", [QNLI, ("0", "who ?", "me", "entailment")])
    data = load("qnli", {("qnli", "train"): (train,)}, tmp_path)
    assert [row.label for row in data.splits["train"]] == [1, 0]
    assert data.splits["validation"][0].texts == ("who ?", "me")
    assert data.notes == ("partial: train is read from some.tsv, not an official file",)
    assert data.source == "data-dir and data-file"


def test_a_file_overrides_embedded_rows_and_dev_is_validation(train: Path) -> None:
    data = load("qnli", {("qnli", "dev"): (train,), ("rte", "train"): (Path("not-asked.tsv"),)})
    assert len(data.splits["validation"]) == 2 and len(data.splits["train"]) >= 500
    assert data.notes == ("partial: validation is read from some.tsv, not an official file",)


def test_several_files_are_one_split_with_ids_in_a_row(train: Path) -> None:
    data = load("qnli", {("qnli", "train"): (train, train)})
    assert [row.id for row in data.splits["train"]] == [f"train/{n}" for n in range(4)]


def test_files_for_each_split_need_no_source(tmp_path: Path) -> None:
    rows = [MNLI_HEADER, mnli_row(0, "p", "h", "neutral")]
    official = write(tmp_path / "official.tsv", rows)
    reduced = tmp_path / "reduced.jsonl"
    reduced.write_text(json.dumps({"premise": "p", "hypothesis": "h", "label": "neutral"}) + "\n")
    files: Files = {("mnli", "train"): (official,), ("mnli", "dev_matched"): (reduced,)}
    data = load("mnli", {**files, ("mnli", "validation_mismatched"): (reduced,)}, tmp_path / "absent")
    assert {(*row.texts, row.label) for split in data.splits.values() for row in split} == {("p", "h", 1)}
    assert data.source == "data-file" and len(data.notes) == 3


def test_unknown_splits_and_splits_given_twice(train: Path) -> None:
    with pytest.raises(UserError, match="unknown split of qnli 'test': allowed: train, validation"):
        load("qnli", {("qnli", "test"): (train,)})
    with pytest.raises(UserError, match=r"unknown split of mnli 'dev'.*validation_matched"):
        load("mnli", {("mnli", "dev"): (train,)})
    with pytest.raises(UserError, match="qnli/validation is given twice"):
        load("qnli", {("qnli", "dev"): (train,), ("qnli", "validation"): (train,)})


def test_fingerprint_hangs_on_rows_not_on_their_place(tmp_path: Path) -> None:
    row = ("0", "who ?", "me", "entailment")
    for place in ("one", "two", "three"):
        changed = row if place != "three" else (*row[:3], "not_entailment")
        write(tmp_path / place / "QNLI" / "train.tsv", [QNLI, row])
        write(tmp_path / place / "QNLI" / "dev.tsv", [QNLI, changed])
    one, two, three = (load("qnli", {}, tmp_path / place).fingerprint for place in ("one", "two", "three"))
    assert one == two != three
