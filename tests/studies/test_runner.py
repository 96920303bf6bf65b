"""Studies from the command line to their reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from studies.rules.claims import FILE


def test_accounting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "accounting", "--out", str(tmp_path / "exact"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "confirmed" and not said["stand_in"]
    text = (tmp_path / "exact" / "report" / "report.md").read_text()
    assert "| query+key+value | 16 | half | 442,368 |" in text and "592,130" in text
    assert (tmp_path / "exact" / "report" / "report.html").is_file()
    assert main(["study", "claims", "--out", str(tmp_path / "all")]) == 0
    shown = (tmp_path / "all" / "report" / "report.md").read_text()
    assert "442,368" in shown and "python -m harness study parity" in shown


def test_a_tiny_run_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["study", "seed-sensitivity", "--max-steps", "2", "--train-rows", "32", "--eval-rows", "20"]
    words += ["--seeds", "2", "--out", str(tmp_path)]
    assert main(words) == 0
    first = capsys.readouterr()
    assert "no evidence about the paper" in first.out and "verdict: " in first.out
    cells = sorted((tmp_path / "cells").glob("*.json"))
    assert len(cells) == 2 * 5  # two tasks; four crossed, and the one of all streams that is not among them
    report = (tmp_path / "report" / "report.md").read_text()
    assert report.index("no evidence about the paper") < report.index("Verdict: ") < report.index("Evidence")
    assert json.loads((tmp_path / FILE).read_text())["stand_in"]
    stamps = [path.stat().st_mtime_ns for path in cells]
    assert main(words) == 0
    assert [path.stat().st_mtime_ns for path in cells] == stamps
    assert main(["report", str(tmp_path)]) == 0
