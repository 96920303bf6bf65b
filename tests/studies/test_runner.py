"""Studies from the command line to their reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.core.store import Store
from studies.page import LATE_MARGIN_NOTE
from studies.stored import FILE

TINY = ["--max-steps", "2", "--train-rows", "32", "--eval-rows", "20", "--seeds", "2"]
TEXT = ["--formats", "md", "--figures", ""]


def report_of(folder: Path) -> str:
    return (folder / "report" / "report.md").read_text()


def test_accounting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "accounting", "--out", str(tmp_path / "exact"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "confirmed" and not said["stand_in"]
    text = report_of(tmp_path / "exact")
    assert "| query+key+value | 16 | half | 442,368 |" in text and "592,130" in text
    assert (tmp_path / "exact" / "report" / "report.html").is_file()
    assert main(["study", "claims", "--out", str(tmp_path / "all")]) == 0
    shown = report_of(tmp_path / "all")
    assert "442,368" in shown and "python -m harness study parity" in shown
    for name, before in (("exact", text), ("all", shown)):
        (tmp_path / name / "report" / "report.md").unlink()
        assert main(["report", str(tmp_path / name)]) == 0
        assert report_of(tmp_path / name) == before


def test_a_tiny_run_resumes_and_its_report_keeps_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "seed-sensitivity", *TINY, *TEXT, "--out", str(tmp_path)]
    assert main(words) == 0
    first = capsys.readouterr()
    assert "no evidence about the paper" in first.out and "verdict: " in first.out
    cells = sorted((tmp_path / "cells").glob("*.json"))
    assert len(cells) == 3 * 5  # three tasks; four crossed, and the one of all streams that is not among them
    report = report_of(tmp_path)
    assert report.index("no evidence about the paper") < report.index("Verdict: ") < report.index("Evidence")
    assert "Signs of failure" in report
    assert json.loads((tmp_path / FILE).read_text())["stand_in"]
    stamps = [path.stat().st_mtime_ns for path in cells]
    assert main(words) == 0
    assert [path.stat().st_mtime_ns for path in cells] == stamps
    (tmp_path / "report" / "report.md").unlink()
    assert main(["report", str(tmp_path), *TEXT]) == 0
    assert report_of(tmp_path) == report
    assert main(["report", str(tmp_path), "--formats", "latex", "--figures", ""]) == 0
    assert "Verdict: " in (tmp_path / "report" / "report.tex").read_text()

    capsys.readouterr()
    assert main([*words, "--margin", "5"]) == 0
    assert LATE_MARGIN_NOTE in capsys.readouterr().out and LATE_MARGIN_NOTE in report_of(tmp_path)
    assert json.loads((tmp_path / FILE).read_text())["margin_late"]
    assert main(["report", str(tmp_path), *TEXT]) == 0 and LATE_MARGIN_NOTE in report_of(tmp_path)
    assert LATE_MARGIN_NOTE not in report


def test_a_study_that_was_stopped_says_whose_folder_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    words = ["study", "parity", *TINY, "--out", str(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr("harness.runner.run.execute", stop)
        main(words)
    assert json.loads((tmp_path / FILE).read_text())["study"] == "parity"
    assert main(["study", "domain", *TINY, "--out", str(tmp_path)]) == 2
    assert "it holds study parity, not domain" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert not list((tmp_path / "cells").glob("*.json"))


def test_folders_that_are_not_the_study_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, run, broken = tmp_path / "other", tmp_path / "run", tmp_path / "broken"
    assert main(["study", "accounting", "--out", str(other)]) == 0
    Store(run).prepare()
    Store(run).write_run("python -m harness run", "glue: lora", [], [])
    broken.mkdir()
    (broken / FILE).write_text("{")
    capsys.readouterr()
    for folder, says in (
        (other, "it holds study accounting, not parity"),
        (run, "it holds a run of no study"),
        (broken, "cannot be read"),
    ):
        assert main(["study", "parity", *TINY, "--out", str(folder)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line and str(folder) in line
        assert not list((folder / "cells").glob("*"))
    assert main(["report", str(broken)]) == 2
    assert "cannot be read" in capsys.readouterr().err
