"""Bad rows: the error names file, line and what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import UserError
from suites.sources.glue_layouts import LAYOUTS
from suites.sources.rows import read_examples
from suites.sources.tables import open_table
from tests.suites.sources.files import STSB_HEADER, write

RTE = ("index", "sentence1", "sentence2", "label")
GOOD = ("0", "a", "b", "entailment")


def message(path: Path, task: str, rows: Sequence[Sequence[str]]) -> str:
    with pytest.raises(UserError) as caught:
        read_examples(open_table(write(path, rows)), LAYOUTS[task], "train")
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text
    return text.removeprefix(str(path))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("1", "a", "b"), " line 3: 3 columns, expected 4 (index, sentence1, sentence2, label)"),
        (("1", "a", "b", "c", "entailment"), " line 3: 5 columns, expected 4 (index, sentence1, sentence2, label)"),
        (("1", "a", "b", "maybe"), " line 3: label 'maybe', expected one of entailment, not_entailment, 0, 1"),
        (("1", "a", "b", ""), " line 3: label '', expected one of entailment, not_entailment, 0, 1"),
        (("1", "a", "b", "2"), " line 3: label '2', expected one of entailment, not_entailment, 0, 1"),
        (("1", "", "", "0"), " line 3: empty text, expected words under sentence1, sentence2"),
        (("", "", "", ""), " line 3: label '', expected one of entailment, not_entailment, 0, 1"),
    ],
)
def test_bad_row(tmp_path: Path, row: Sequence[str], expected: str) -> None:
    assert message(tmp_path / "train.tsv", "rte", [RTE, GOOD, row]) == expected


def test_blank_lines_count_in_line_numbers(tmp_path: Path) -> None:
    assert message(tmp_path / "t.tsv", "rte", [RTE, ("",), GOOD, ("x",)]).startswith(" line 4: 1 columns")


@pytest.mark.parametrize("score", ["5.1", "-0.2", "nan", "high", ""])
def test_bad_similarity(tmp_path: Path, score: str) -> None:
    row = ("0", "g", "f", "y", "1", "none", "none", "a", "b", score)
    expected = f" line 2: label '{score}', expected a number from 0 to 5"
    assert message(tmp_path / "t.tsv", "stsb", [STSB_HEADER, row]) == expected


def test_wrong_header_names_the_columns_that_are_read(tmp_path: Path) -> None:
    text = message(tmp_path / "t.tsv", "qnli", [("one", "two", "label"), ("a", "b", "0")])
    assert (
        text
        == " line 1: header (one, two, label), expected columns (question, sentence, label) or (text_a, text_b, label)"
    )


def test_cola_with_a_foreign_file_is_told_the_official_columns(tmp_path: Path) -> None:
    text = message(tmp_path / "t.tsv", "cola", [("just words", "1")])
    assert text == " line 1: 2 columns, expected 4 (source, label, original mark, sentence)"


def test_empty_files(tmp_path: Path) -> None:
    assert message(tmp_path / "t.tsv", "rte", []) == ": empty file, expected columns sentence1, sentence2, label"
    assert message(tmp_path / "t.tsv", "rte", [RTE]).startswith(": no rows, expected columns")


def test_an_mnli_dash_is_dropped_but_not_in_other_tasks(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", [("premise", "hypothesis", "label"), ("p", "h", "-"), ("p", "h", "1")])
    rows, notes = read_examples(open_table(path), LAYOUTS["mnli"], "train", start=5)
    assert [(row.id, row.label) for row in rows] == [("train/5", 1)]
    assert notes == ["dropped: train: 1 row labelled '-'"]
    assert "label '-'" in message(tmp_path / "u.tsv", "rte", [RTE, ("0", "a", "b", "-")])


@pytest.mark.parametrize("label", ["1.0", " 1", "NOT_ENTAILMENT", "not_entailment ", "01", "1e0"])
def test_labels_go_by_value_and_by_name_in_any_case(tmp_path: Path, label: str) -> None:
    rows, _ = read_examples(
        open_table(write(tmp_path / "t.tsv", [RTE, ("0", "a", "b", label)])), LAYOUTS["rte"], "train"
    )
    assert [row.label for row in rows] == [1]


@pytest.mark.parametrize("score", ["4_0", "1,5", "inf", "1e999", "٣"])
def test_similarities_that_float_would_take_or_that_have_a_comma(tmp_path: Path, score: str) -> None:
    row = ("0", "g", "f", "y", "1", "none", "none", "a", "b", score)
    assert f"label '{score}'" in message(tmp_path / "t.tsv", "stsb", [STSB_HEADER, row])


def test_a_key_that_a_pair_lacks_is_no_empty_sentence(tmp_path: Path) -> None:
    for second in ("", '"sentence2": null, '):
        (tmp_path / "t.jsonl").write_text(
            '{"sentence1": "a", "sentence2": "b", "label": 0}\n{"sentence1": "a", ' + second + '"label": 1}\n'
        )
        with pytest.raises(UserError, match=r"t\.jsonl line 2: empty text"):
            read_examples(open_table(tmp_path / "t.jsonl"), LAYOUTS["rte"], "train")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    header = ("sentence1", "sentence2", "label", "label")
    assert "'label'" in message(tmp_path / "t.tsv", "rte", [header, ("a", "b", "0", "1")])


@pytest.mark.parametrize(("scores", "scale"), [((0.0, 0.4, 1.0), "from 0 to 1,"), ((0.2, 3.8, 1.0), None)])
def test_similarities_of_another_scale_are_noted(tmp_path: Path, scores: Sequence[float], scale: str | None) -> None:
    """STS-B has 0 to 5; other releases of it are divided by five."""
    header = ("sentence1", "sentence2", "score")
    path = write(tmp_path / "t.tsv", [header, *(("a", "b", str(score)) for score in scores)])
    examples, notes = read_examples(open_table(path), LAYOUTS["stsb"], "train")
    assert [e.label for e in examples] == list(scores)
    assert len(notes) == (scale is not None) and all(str(scale) in note and "train" in note for note in notes)
