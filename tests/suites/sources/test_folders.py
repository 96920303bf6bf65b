"""The official download, with the quirks of each task's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.core.method import SourceRequest, TaskData
from suites.glue import Glue
from tests.suites.sources.files import MNLI_HEADER, QQP_HEADER, STSB_HEADER, mnli_row, msr_rows, write


def load(task: str, folder: Path) -> TaskData:
    return Glue().load(task, SourceRequest("data-dir", folder))


def both(folder: Path, rows: Sequence[Sequence[str]], **how: str) -> None:
    for stem in ("train", "dev"):
        write(folder / f"{stem}.tsv", rows, **how)


def content(data: TaskData, split: str = "validation") -> list[tuple[tuple[str, ...], int | float]]:
    return [(row.texts, row.label) for row in data.splits[split]]


def test_suite_folder_and_its_parent_are_the_same(tmp_path: Path) -> None:
    both(tmp_path / "glue" / "SST-2", [("sentence", "label"), ("quite a film ", "1")])
    inner, outer = load("sst2", tmp_path / "glue"), load("sst2", tmp_path)
    assert inner == outer
    assert content(inner) == [(("quite a film ",), 1)]
    assert (inner.source, inner.notes) == ("data-dir", ())
    assert [row.id for split in inner.splits.values() for row in split] == ["train/0", "validation/0"]


def test_cola_has_no_header(tmp_path: Path) -> None:
    both(tmp_path / "CoLA", [("ab01", "1", "", "Birds sing."), ("ab01", "0", "*", "Birds sings.")])
    assert content(load("cola", tmp_path)) == [(("Birds sing.",), 1), (("Birds sings.",), 0)]


def test_quotes_are_data_and_lines_end_at_newlines_only(tmp_path: Path) -> None:
    odd = 'it said " stop\u2028there\x85 '
    both(tmp_path / "RTE", [("index", "sentence1", "sentence2", "label"), ("0", odd, '"', "not_entailment")])
    assert content(load("rte", tmp_path)) == [((odd, '"'), 1)]


def test_windows_line_ends_a_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    rows = [("index", "sentence1", "sentence2", "label"), ("0", "a", "b", "1"), ("",)]
    both(tmp_path / "WNLI", rows, mark="\ufeff", end="\r\n")
    assert content(load("wnli", tmp_path)) == [(("a", "b"), 1)]


def test_mnli_columns_by_name_and_rows_without_a_gold_label(tmp_path: Path) -> None:
    rows = [
        mnli_row(0, "p0", "h0", "contradiction"),
        mnli_row(1, "p1", "h1", "-"),
        mnli_row(2, "p2", "h2", "entailment"),
    ]
    for stem in ("train", "dev_matched", "dev_mismatched"):
        write(tmp_path / "MNLI" / f"{stem}.tsv", [MNLI_HEADER, *rows[: 1 if stem == "train" else 3]])
    data = load("mnli", tmp_path)
    assert set(data.splits) == {"train", "validation_matched", "validation_mismatched"}
    assert content(data, "validation_mismatched") == [(("p0", "h0"), 2), (("p2", "h2"), 0)]
    assert data.notes == (
        "dropped: validation_matched: 1 row labelled '-'",
        "dropped: validation_mismatched: 1 row labelled '-'",
    )


def test_stsb_score_and_qnli_labels(tmp_path: Path) -> None:
    both(tmp_path / "STS-B", [STSB_HEADER, ("0", "g", "f", "y", "1", "none", "none", "a", "b", "3.800")])
    both(tmp_path / "QNLI", [("index", "question", "sentence", "label"), ("7", "who ?", "me", "entailment")])
    assert content(load("stsb", tmp_path)) == [(("a", "b"), 3.8)]
    assert content(load("qnli", tmp_path)) == [(("who ?", "me"), 0)]


def test_qqp_drops_a_few_broken_rows_with_a_note(tmp_path: Path) -> None:
    rows = [(str(n), "1", "2", f"q{n}", "", str(n % 2)) for n in range(1000)]
    both(tmp_path / "QQP", [QQP_HEADER, *rows[:4], ("9", "broken in two"), *rows[4:]])
    data = load("qqp", tmp_path)
    assert len(data.splits["validation"]) == 1000
    assert data.splits["validation"][4].id == "validation/4"
    assert "dropped: validation: 1 row with a wrong number of columns" in data.notes


def test_qqp_refuses_a_file_that_is_mostly_broken(tmp_path: Path) -> None:
    both(tmp_path / "QQP", [QQP_HEADER, ("0", "1", "2", "q", "r", "0"), ("9", "broken in two")])
    with pytest.raises(UserError, match=r"train\.tsv line 3: 2 columns, expected 6 \(id, qid1"):
        load("qqp", tmp_path)


def test_mrpc_official_splits(tmp_path: Path) -> None:
    header = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")
    both(tmp_path / "MRPC", [header, *msr_rows(2)], mark="\ufeff")
    assert content(load("mrpc", tmp_path)) == [(("first 0", "second 0"), 0), (("first 1", "second 1"), 1)]


def test_an_absent_folder_is_one_line_that_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load("qqp", tmp_path)
    message = str(caught.value)
    assert message.startswith(f"glue/qqp: no folder QQP in {tmp_path} or {tmp_path / 'glue'}; ")
    assert "--data-file qqp/train=PATH --data-file qqp/validation=PATH" in message and "\n" not in message


def test_a_partial_folder_names_what_is_missing_and_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "QNLI" / "dev.tsv", [("index", "question", "sentence", "label"), ("7", "q", "s", "entailment")])
    with pytest.raises(UserError) as caught:
        load("qnli", tmp_path)
    expected = f"glue/qnli: no train.tsv in {tmp_path / 'QNLI'} (found: dev.tsv); give --data-file qnli/train=PATH"
    assert str(caught.value) == expected


def test_data_dir_without_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give --data-dir DIR"):
        Glue().load("rte", SourceRequest("data-dir"))
