"""The user's own files as a suite."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.method import SourceRequest, Suite, TaskData
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.planning.plan import make_plan
from suites.table import TableSuite

ROWS = [(f"text number {n}", f"more {n}", ("good", "bad", "so so")[n % 3 if n % 6 else 0]) for n in range(60)]


def csv_file(path: Path, rows: Any = ROWS, header: str = "body,title,mark") -> Path:
    path.write_text(header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def opened(*paths: Path, text: tuple[str, ...] = ("body",), label: str = "mark", **more: Any) -> tuple[Suite, Any]:
    files = {(path.stem, "train"): (path,) for path in paths} | more.pop("files", {})
    request = SourceRequest("hub", None, files)
    return TableSuite(text=text, label=label, **more).configure(request, ()), request


def one(path: Path, **more: Any) -> tuple[Suite, TaskData]:
    suite, request = opened(path, **more)
    return suite, suite.load(path.stem, request)


def test_a_file_is_a_task_with_its_labels_sorted_and_told(tmp_path: Path) -> None:
    suite, data = one(csv_file(tmp_path / "mine.csv"), text=("title", "body"))
    assert suite.tasks["mine"].labels == ("bad", "good", "so so")
    assert suite.tasks["mine"].metrics == ("accuracy", "f1_macro")
    texts = {row.texts for split in data.splits.values() for row in split}
    assert texts == {(title, body) for body, title, _ in ROWS}
    assert data.notes[1] == "labels: column 'mark', classes in order: bad, good, so so"
    assert data.notes[0].startswith("derived: validation is 12 of 60 rows of mine.csv")
    assert TableSuite.tasks == {}  # another run starts anew


def test_the_dev_part_is_stratified_and_the_same_each_time(tmp_path: Path) -> None:
    suite, data = one(csv_file(tmp_path / "mine.csv"))
    assert one(tmp_path / "mine.csv")[1].fingerprint == data.fingerprint
    names = suite.tasks["mine"].labels
    held = Counter(names[int(row.label)] for row in data.splits["validation"])
    whole = Counter(label for *_, label in ROWS)
    assert held == {label: round(count / 5) for label, count in whole.items()}
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 60


def test_a_validation_file_leaves_train_whole(tmp_path: Path) -> None:
    dev = csv_file(tmp_path / "dev.csv", ROWS[:9])
    for name in ("mine", "table"):
        _, data = one(csv_file(tmp_path / "mine.csv"), files={(name, "validation"): (dev,)})
        assert [len(data.splits[split]) for split in ("train", "validation")] == [60, 9]
        assert data.notes[0] == "partial: validation is read from dev.csv"
    csv_file(dev, [*ROWS[:2], ("x", "y", "new")])
    with pytest.raises(UserError, match=r"dev\.csv line 4: label 'new' of validation, expected bad, good, so so"):
        one(tmp_path / "mine.csv", files={("table", "validation"): (dev,)})


@pytest.mark.parametrize(
    ("labels", "asked", "metrics", "classes"),
    [
        ([n % 5 + 1 for n in range(60)], None, ("accuracy", "f1_macro"), ("1", "2", "3", "4", "5")),
        ([n % 12 for n in range(60)], None, ("accuracy", "f1_macro"), tuple(map(str, range(12)))),
        ([n % 30 for n in range(60)], None, ("pearson", "spearman"), ()),
        ([n % 30 for n in range(60)], "class", ("accuracy", "f1_macro"), tuple(map(str, range(30)))),
        ([n % 4 / 2 for n in range(60)], None, ("pearson", "spearman"), ()),
        ([n % 5 for n in range(60)], "number", ("pearson", "spearman"), ()),
    ],
)
def test_numbers_of_many_values_are_a_regression(
    tmp_path: Path, labels: list[Any], asked: Any, metrics: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    path = csv_file(tmp_path / "n.csv", [(f"t {n}", "x", label) for n, label in enumerate(labels)])
    suite, data = one(path, labels=asked)
    assert (suite.tasks["n"].metrics, suite.tasks["n"].labels) == (metrics, classes)
    written = sorted(
        float(classes[int(row.label)]) if classes else row.label for s in data.splits.values() for row in s
    )
    assert written == sorted(map(float, labels))
    true = np.array([row.label for row in data.splits["validation"]])
    assert all(v == pytest.approx(100) for v in suite.score("n", "validation", true.copy(), true).values())


def test_jsonl_and_tsv_are_read_as_csv_is(tmp_path: Path) -> None:
    fingerprints = {one(csv_file(tmp_path / "a.csv"))[1].fingerprint}
    (tmp_path / "a.tsv").write_text("body\ttitle\tmark\n" + "".join("\t".join(row) + "\n" for row in ROWS))
    items = [json.dumps(dict(zip(("body", "title", "mark"), row, strict=True))) for row in ROWS]
    (tmp_path / "a.jsonl").write_text("\n".join(items))
    for kind in ("tsv", "jsonl"):
        fingerprints.add(one(tmp_path / f"a.{kind}")[1].fingerprint)
    assert len(fingerprints) == 1


BAD: list[tuple[str, bytes, str]] = [
    ("a.csv", b"body,mork\nx,1\n", r"unknown column in the header of .*a\.csv: 'mark': did you mean 'mork'\?"),
    ("a.csv", b"body,mark\nx,1\n ,0\n ,1\n", r"a\.csv: 2 of 3 rows cannot be used \(2 without a text\)"),
    ("a.csv", b"body,mark\nx,\ny,\n", r"a\.csv: 2 of 2 rows cannot be used \(2 without a label\)"),
    ("a.csv", b"body,mark\nx,1\ny,0,7\n", r"a\.csv line 3: 3 columns, expected 2"),
    ("a.csv", b"body,mark\nx,yes\ny,yes\n", r"a\.csv: one label only, 'yes'"),
    ("a.csv", b"body,mark\n", r"a\.csv: no rows"),
    ("a.csv", b"", r"a\.csv: empty file"),
    ("a.csv", b"body,mark\nx,1\n\xff,0\n", r"a\.csv line 3: expected UTF-8 text, found byte 0xff"),
    ("a.jsonl", b'{"body": "x", "mark": 1}\n{"body": \n', r"a\.jsonl line 2: expected a JSON object"),
    ("a.jsonl", b'{"body": "x", "mark": 1}\n[1]\n', r"a\.jsonl line 2: expected a JSON object, found list"),
    ("a.csv", b"body,mark\nx,a\ny,b\nz,c\n", r"a\.csv: 3 labels in 3 rows; expected classes of several rows"),
    ("a.doc", b"x", r"unknown extension of data file .*'\.doc'"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD, ids=range(len(BAD)))
def test_errors_name_file_line_and_what_was_expected(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        one(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_labels_that_are_no_numbers_are_refused_as_numbers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.csv line 2: label 'good', expected a number"):
        opened(csv_file(tmp_path / "mine.csv"), labels="number")


def test_what_must_be_given(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "mine.csv")
    with pytest.raises(UserError, match="--suite table: no file of rows; give --data-file"):
        opened()
    with pytest.raises(UserError, match="columns are not named"):
        opened(path, text=())
    with pytest.raises(UserError, match="allowed: one or two other columns"):
        opened(path, text=("body", "mark"))


def test_several_files_are_several_tasks_of_a_plan(tmp_path: Path) -> None:
    paths = [csv_file(tmp_path / name, rows) for name, rows in (("one.csv", ROWS), ("my two.csv", ROWS[:30]))]
    paths[0] = paths[0].rename(tmp_path / "one.csv.gz")
    paths[0].write_bytes(gzip.compress(paths[0].read_bytes()))
    files = tuple(map(str, paths))
    asked = {"suite": ("table",), "data_file": files, "label": "mark", "methods": "head", "seeds": "1"}
    plan = make_plan(make_spec(asked | {"text": "body+title"}))
    assert [planned.cell.task for planned in plan.cells] == ["one", "my_two"]
    assert len({planned.cell.data for planned in plan.cells}) == 2
    assert plan.cells[0].task.outputs == 3
    with pytest.raises(UserError, match="unknown task 'three'"):
        make_plan(make_spec(asked | {"text": "body", "tasks": ("three",)}))


def test_plan_and_records_say_what_was_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = csv_file(tmp_path / "mine.csv", [*ROWS, ("more words", "x", "nan"), ("and more", "x", "")])
    words = ["--suite", "table", "--data-file", str(path), "--text", "body", "--label", "mark", "--methods", "head"]
    assert main(["plan", *words, "--seeds", "1", "--max-steps", "2"]) == 0
    printed = capsys.readouterr().out
    assert "table/mine: dropped: train: 1 row of mine.csv without a label ('nan')" in printed
    words += ["--seeds", "1", "--max-steps", "2", "--no-profile", "--formats", "csv", "--figures", ""]
    assert main(["run", *words, "--out", str(tmp_path / "out")]) == 0
    (record,) = Store(tmp_path / "out").read()[0].values()
    assert sum(note.startswith("dropped: train: 1 row of mine.csv") for note in record.data_notes) == 2
    assert record.rows["train"] + record.rows["validation"] == len(ROWS)


def test_the_scale_of_a_regression_is_noted_and_that_of_validation_where_it_goes_beyond(tmp_path: Path) -> None:
    train = csv_file(tmp_path / "a.csv", [("text", "more", n / 40) for n in range(41)])
    dev = csv_file(tmp_path / "b.csv", [("text", "more", n / 8) for n in range(41)])
    _, data = one(train)
    assert any("numbers from 0 to 1," in note and "validation has" not in note for note in data.notes)
    suite, request = opened(train, files={("a", "validation"): (dev,)})
    assert any("validation has 0 to 5" in note for note in suite.load("a", request).notes)
