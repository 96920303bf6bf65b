"""Labels of a user's own files: one value is one class however it is written, and what is missing is dropped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.core.errors import UserError
from harness.core.method import SourceRequest, Suite, TaskData
from suites.table import TableSuite


def table(path: Path, **more: Any) -> tuple[Suite, TaskData]:
    files = {("t", "train"): (path,)}
    if (validation := more.pop("validation", None)) is not None:
        files["t", "validation"] = (validation,)
    request = SourceRequest("hub", None, files)
    suite = TableSuite(text=more.pop("text", ("text",)), label="label", **more).configure(request, ())
    return suite, suite.load("t", request)


def save(path: Path, labels: Sequence[Any]) -> Path:
    """A file by its extension; labels of CSV are written as they are."""
    rows = [{"text": f"words {n}", "label": label} for n, label in enumerate(labels)]
    if path.suffix == ".csv":
        path.write_text("text,label\n" + "".join(f"words {n},{label}\n" for n, label in enumerate(labels)))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


FORMS: list[tuple[str, list[Any]]] = [
    ("a.csv", ["0", "1"]),
    ("a.csv", ["0.0", "1.0"]),
    ("a.csv", ["0", "1.0"]),
    ("a.csv", [" 0", "1e0 "]),
    ("a.csv", ["false", "True"]),
    ("a.jsonl", [0, 1]),
    ("a.jsonl", [0.0, 1]),
    ("a.jsonl", ["0", 1.0]),
    ("a.jsonl", [False, True]),
    ("a.parquet", [0, 1]),
    ("a.parquet", [0.0, 1.0]),
    ("a.parquet", [False, True]),
]


@pytest.mark.parametrize(("name", "pair"), FORMS, ids=range(len(FORMS)))
@pytest.mark.parametrize(("other", "others"), FORMS, ids=range(len(FORMS)))
def test_one_value_is_one_class_in_train_and_validation(
    tmp_path: Path, name: str, pair: list[Any], other: str, others: list[Any]
) -> None:
    train = save(tmp_path / name, pair * 10)
    suite, data = table(train, validation=save(tmp_path / f"v{other}", others * 3))
    assert len(suite.tasks["t"].labels) == 2
    assert [row.label for row in data.splits["train"]] == [0, 1] * 10
    assert [row.label for row in data.splits["validation"]] == [0, 1] * 3


MISSING = ["", "nan", "NaN", "NA", "N/A", "n/a", "null", "NULL", "<NA>", "None", "#N/A"]


@pytest.mark.parametrize("word", MISSING)
@pytest.mark.parametrize("pair", [["neg", "pos"], ["0", "1"], ["0.0", "1.0"], ["False", "True"]])
def test_missing_labels_are_dropped_as_pandas_drops_them_and_counted(
    tmp_path: Path, word: str, pair: list[str]
) -> None:
    path = save(tmp_path / "a.csv", [*pair * 10, word, word, word])
    suite, data = table(path)
    kept = pd.read_csv(path, dtype=str)["label"].dropna()
    assert sum(map(len, data.splits.values())) == len(kept) == 20
    assert len(suite.tasks["t"].labels) == kept.nunique() == 2
    assert [note for note in data.notes if note.startswith("dropped: train: 3 rows of a.csv")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("gap", [None, float("nan")])
def test_missing_values_of_typed_files(tmp_path: Path, name: str, gap: Any) -> None:
    suite, data = table(save(tmp_path / name, [0.0, 1.0] * 10 + [gap] * 4))
    assert suite.tasks["t"].labels == ("0", "1") and sum(map(len, data.splits.values())) == 20
    assert any("4 rows" in note for note in data.notes)


def test_missing_scores_leave_a_regression_one(tmp_path: Path) -> None:
    suite, data = table(save(tmp_path / "a.csv", [*(f"0.{n:02}" for n in range(30)), "nan"]))
    assert suite.tasks["t"].labels == ()
    assert sorted(r.label for s in data.splits.values() for r in s) == [n / 100 for n in range(30)]


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (["0,5", "1,5"], "0,5"),
        (["1,000", "2,000"], "1,000"),
        (["1_000", "2"], "1_000"),
        (["Pos", "pos", "neg"], "'Pos' and 'pos'"),
        (["0", "0.0", "x"], "'0' and '0.0'"),
        (["caf\u00e9", "cafe\u0301", "x"], "differ"),
        (["0.5", "inf"], "inf"),
        (["1e999", "1"], "1e999"),
    ],
)
def test_labels_that_may_be_read_in_two_ways_are_refused(tmp_path: Path, labels: list[str], named: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n" + "".join(f"words\t{label}\n" for label in labels * 5))
    with pytest.raises(UserError) as caught:
        table(path)
    assert named in str(caught.value) and "a.tsv line" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("label", [["a"], {"a": 1}])
def test_a_label_that_is_no_single_value_is_refused(tmp_path: Path, label: Any) -> None:
    with pytest.raises(UserError, match=r"a\.jsonl line 1: 'label'"):
        table(save(tmp_path / "a.jsonl", [label, "b"] * 5))


def test_chat_messages_are_no_text(tmp_path: Path) -> None:
    rows = [{"text": [{"role": "user", "content": f"a {n}"}], "label": n % 2} for n in range(10)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"a\.json row 1: 'text' is a list"):
        table(tmp_path / "a.json")


def test_keys_and_lists_in_other_columns_do_not_matter(tmp_path: Path) -> None:
    rows = [{"text": f"a {n}", "label": n % 2} | ({"tags": ["x"]} if n % 3 else {}) for n in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert sum(map(len, table(tmp_path / "a.jsonl")[1].splits.values())) == 20


def test_a_column_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,text,label\na,b,0\nc,d,1\n" * 5)
    with pytest.raises(UserError, match="2 columns are named 'text'"):
        table(tmp_path / "a.csv")


def test_a_header_within_the_rows_and_texts_that_are_empty_are_dropped(tmp_path: Path) -> None:
    body = "".join(f"words {n},{n % 2}\n" for n in range(20))
    (tmp_path / "a.csv").write_text("text,label\n" + body + "text,label\n ,1\n" + body)
    suite, data = table(tmp_path / "a.csv")
    assert suite.tasks["t"].labels == ("0", "1") and sum(map(len, data.splits.values())) == 40
    assert sum(note.startswith("dropped: train: 1 row of a.csv") for note in data.notes) == 2


def test_a_label_of_validation_in_another_case_is_refused(tmp_path: Path) -> None:
    train = save(tmp_path / "a.csv", ["pos", "neg"] * 5)
    with pytest.raises(UserError, match="'Pos' of validation"):
        table(train, validation=save(tmp_path / "v.csv", ["Pos", "neg"]))
