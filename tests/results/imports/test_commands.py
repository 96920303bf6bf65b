"""The command `import`, and what other commands do with its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from harness.cli.main import main
from harness.core.record import Record
from harness.core.store import Store
from results.imports.base import SOURCES
from results.imports.folder import read_import
from tests.reports.records import record, store_of
from tests.results.imports.files import peft_run, write_evaluation, write_peft

LORA = "lora/llama-3.2-3B-rank32"
RUN = "--tasks rte --methods lora --max-steps 1 --train-rows 8 --eval-rows 8 --no-profile".split()
RUN += ["--formats", "csv", "--figures", ""]


def import_peft(tmp_path: Path, name: str = "imported", rights: tuple[int, int] = (631, 694)) -> Path:
    files = write_peft(tmp_path / f"files of {name}", [peft_run(LORA, rights[0]), peft_run("a/b", rights[1], lr=1e-3)])
    assert main(["import", "peft-method-comparison", str(files), "--out", str(tmp_path / name)]) == 0
    return tmp_path / name


def import_evaluations(tmp_path: Path, name: str = "evaluations") -> Path:
    for model, values in (("base", [1.0, 0.0] * 10), ("tuned", [1.0] * 20)):
        write_evaluation(tmp_path / name / model, model, {"law": values})
    out = tmp_path / f"imported {name}"
    assert main(["import", "lm-eval", str(tmp_path / name), "--out", str(out)]) == 0
    return out


def test_an_import_has_a_report_that_names_its_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = import_peft(tmp_path)
    assert "2 results from 2 files" in capsys.readouterr().out
    for name in ("report.md", "report.html"):
        text = (out / "report" / name).read_text()
        assert "nothing in this report was measured by this harness" in text and "a/b" in text
    rows = pd.read_csv(out / "report" / "rows.csv")
    assert set(rows["source"]) == {"peft-method-comparison"} and rows["score"].tolist() == [694 / 1319, 631 / 1319]


def test_evaluations_are_stored_with_their_answers(tmp_path: Path) -> None:
    read = read_import(import_evaluations(tmp_path))
    frames = [read.read_answers(row) for row in read.rows]
    assert [None if frame is None else len(frame) for frame in frames] == [20, 20]
    comparisons = pd.read_csv(read.out / "report" / "comparisons.csv")
    assert comparisons["p"].tolist() == pytest.approx([2 * 0.5**10])


def test_json_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_peft(tmp_path / "files", [peft_run(LORA, 600)])
    (files / "x.json").write_text("{")
    assert main(["import", "peft-method-comparison", str(files), "--out", str(tmp_path / "o"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["rows"], answer["files"], answer["repeats"], len(answer["skipped"])) == (1, 2, 0, 1)


def test_the_same_import_again_replaces_the_rows(tmp_path: Path) -> None:
    out = import_peft(tmp_path)
    files = write_peft(tmp_path / "fewer", [peft_run(LORA, 1)])
    assert main(["import", "peft-method-comparison", str(files), "--out", str(out)]) == 0
    assert [row.score for row in read_import(out).rows] == [1 / 1319]
    assert len(list((out / "rows").iterdir())) == 1


def test_show_compare_and_report_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = import_peft(tmp_path), import_peft(tmp_path, "later", (600, 700))
    capsys.readouterr()
    assert main(["show", "a/b", str(a)]) == 0
    shown = capsys.readouterr().out
    assert "imported, not measured here" in shown and f"{694 / 1319:.15g}" in shown
    key = read_import(a).rows[0].key
    assert main(["show", key[:8], str(a), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == key
    assert main(["report", str(a), "--formats", "md,csv", "--to", str(tmp_path / "to")]) == 0
    assert sorted(path.name for path in (tmp_path / "to").glob("*.*")) == ["comparisons.csv", "report.md", "rows.csv"]
    capsys.readouterr()
    assert main(["compare", str(a), str(b)]) == 0
    assert "the same run in both: 2" in capsys.readouterr().out


def test_two_imports_of_evaluations_are_paired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, values in (("x", [1.0, 0.0] * 10), ("y", [1.0] * 20)):
        write_evaluation(tmp_path / name, name, {"law": values})
        assert main(["import", "lm-eval", str(tmp_path / name), "--out", str(tmp_path / f"of {name}")]) == 0
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "of x"), str(tmp_path / "of y")]) == 0
    assert "y +50.0 points" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return store_of(tmp_path / "run", [record(60.0)])


def test_what_was_measured_here_never_meets_it(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imported = str(import_peft(tmp_path))
    evaluated = str(import_evaluations(tmp_path))
    for words, says in (
        (["compare", str(run), imported], "holds results of others"),
        (["compare", imported, str(run)], "holds results of others"),
        (["compare", imported, evaluated], "allowed: two of one source"),
        (["compare", imported, imported, "--fail-if-worse", "1"], "--fail-if-worse is for two runs"),
        (["report", imported, "--figures", "pdf"], "--figures"),
        (["report", imported, "--formats", "readme-table"], "readme-table"),
        (["watch", imported], "imported results of others"),
        (["examples", imported, "--task", "x", "--between", "a,b"], "imported results of others"),
        (["export", "every-eval-ever", imported, "--to", str(tmp_path / "e")], "imported results of others"),
        (["store", "check", imported], "imported results of others"),
        (["store", "gc", imported], "imported results of others"),
        (["store", "merge", imported, str(run)], "imported results of others"),
        (["store", "merge", str(run), imported], "imported results of others"),
        (["run", *RUN, "--out", imported], "imported results of others"),
        (["import", "lm-eval", str(tmp_path / "evaluations"), "--out", str(run)], "holds a run"),
    ):
        capsys.readouterr()
        assert main(words) == 2, words
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1, words
    assert isinstance(next(iter(Store(run).read()[0].values())), Record)


@pytest.mark.parametrize("source", SOURCES.names())
def test_every_source_refuses_what_it_cannot_read(
    tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, wrong = tmp_path / "empty", tmp_path / "wrong"
    empty.mkdir()
    wrong.mkdir()
    (wrong / "results_x.json").write_text('{"a": 1}')
    (wrong / "b.json").write_bytes(b"\xff\xfe")
    os.mkfifo(wrong / "c.json")
    out = tmp_path / "out"
    for folder in (empty, wrong, tmp_path / "absent"):
        assert main(["import", source, str(folder), "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: import ") and error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("source", SOURCES.names())
def test_every_source_says_what_it_reads(source: str) -> None:
    assert SOURCES.get(source)().summary


def test_mistakes_of_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = str(write_peft(tmp_path / "files", [peft_run(LORA, 600)]))
    out = ["--out", str(tmp_path / "out")]
    for words, says in (
        (["import", "lm_eval", files, *out], "did you mean 'lm-eval'"),
        (["import", "peft-method-comparison", files, *out, "--baseline", "x"], "no row has this name"),
        (["import", "peft-method-comparison", files, *out, "--formats", "pdf"], "allowed: csv, html, latex"),
    ):
        assert main(words) == 2
        assert says in capsys.readouterr().err


def test_a_damaged_row_is_named_and_the_others_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = import_peft(tmp_path)
    first, second = sorted((out / "rows").glob("*.json"))
    first.write_text(first.read_text().replace('"ok"', '"no"'))
    capsys.readouterr()
    assert main(["report", str(out)]) == 0
    assert first.name in capsys.readouterr().err
    second.unlink()
    assert main(["report", str(out)]) == 2
    assert "no row of the import can be read" in capsys.readouterr().err


def test_changed_answers_are_damage(tmp_path: Path) -> None:
    out = import_evaluations(tmp_path)
    answers = sorted((out / "rows").glob("*.parquet"))[0]
    answers.write_bytes(answers.read_bytes() + b"x")
    read = read_import(out)
    assert len(read.rows) == 1 and "answers are changed" in read.damaged[0]
