"""MRPC from the original release: the official held-out pairs, and what a note says where they are not known."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.core.method import SourceRequest, TaskData
from suites.glue import Glue
from tests.suites.sources.files import MSR_HEADER, msr_rows, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "MRPC" / "msr_paraphrase_train.txt", [MSR_HEADER, *msr_rows(40)], mark="\ufeff", end="\r\n")
    return tmp_path / "MRPC"


def load(folder: Path) -> TaskData:
    return Glue().load("mrpc", SourceRequest("data-dir", folder.parent))


def firsts(data: TaskData, split: str) -> list[str]:
    return [row.texts[0] for row in data.splits[split]]


def test_dev_ids_hold_out_their_pairs(folder: Path) -> None:
    write(folder / "dev_ids.tsv", [("103", "503"), ("117", "517")], end="\r\n")
    data = load(folder)
    assert firsts(data, "validation") == ["first 3", "first 17"]
    assert firsts(data, "train") == [f"first {n}" for n in range(40) if n not in (3, 17)]
    assert data.notes == ()


def test_the_pairs_of_an_official_dev_file_are_held_out_of_train(folder: Path) -> None:
    write(folder / "dev.tsv", [MSR_HEADER, msr_rows(6)[5]])
    data = load(folder)
    assert firsts(data, "validation") == ["first 5"]
    assert "first 5" not in firsts(data, "train") and len(data.splits["train"]) == 39
    assert data.notes == ()


def test_an_official_train_file_goes_before_the_release(folder: Path) -> None:
    write(folder / "train.tsv", [MSR_HEADER, *msr_rows(2)])
    write(folder / "dev.tsv", [MSR_HEADER, *msr_rows(4)[2:]])
    assert firsts(load(folder), "train") == ["first 0", "first 1"]


def test_without_either_a_tenth_is_held_out_and_a_note_says_so(folder: Path) -> None:
    data = load(folder)
    held = firsts(data, "validation")
    assert len(held) == 4 and sorted(held + firsts(data, "train")) == sorted(f"first {n}" for n in range(40))
    assert len(data.notes) == 1 and data.notes[0].startswith("derived: mrpc: neither dev_ids.tsv nor dev.tsv")
    # The choice hangs on the pairs, not on their order in the file.
    write(folder / "msr_paraphrase_train.txt", [MSR_HEADER, *reversed(msr_rows(40))])
    assert firsts(load(folder), "validation") == held[::-1]


def test_a_broken_row_of_the_release_keeps_its_line_number(folder: Path) -> None:
    write(folder / "dev_ids.tsv", [("101", "501")])
    write(folder / "msr_paraphrase_train.txt", [MSR_HEADER, *msr_rows(3), ("1", "9")])
    with pytest.raises(UserError, match=r"msr_paraphrase_train\.txt line 5: 2 columns, expected 5"):
        load(folder)


def test_without_the_release_the_missing_files_are_named(folder: Path) -> None:
    (folder / "msr_paraphrase_train.txt").unlink()
    with pytest.raises(UserError, match=r"no train\.tsv, dev\.tsv in .*\(found: nothing\)"):
        load(folder)


@pytest.mark.parametrize("name", ["msr_paraphrase_train.txt", "dev_ids.tsv", "dev.tsv", "train.tsv"])
@pytest.mark.parametrize("content", ["", "\n", "\ufeff", "\t".join(MSR_HEADER) + "\n"])
def test_empty_files_are_user_errors(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    if name == "dev_ids.tsv" and "Quality" in content:
        (folder / name).write_text("")
    with pytest.raises(UserError) as caught:
        load(folder)
    assert name in str(caught.value) and "\n" not in str(caught.value)
