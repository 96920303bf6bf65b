"""The notebook runs from its first cell to its last, and its numbers are those of the stored cells."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib
import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "compare_methods.ipynb"


def read_code_cells() -> list[str]:
    content = json.loads(NOTEBOOK.read_text())
    assert content["nbformat"] == 4
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


def test_notebook_has_no_stored_outputs() -> None:
    """What is stored would be of another version than the code beside it."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")


def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    namespace: dict[str, Any] = {}
    for cell in read_code_cells():
        exec(compile(cell, str(NOTEBOOK), "exec"), namespace)
    outcome = namespace["outcome"]
    assert outcome.failed == 0 and Path(outcome.report).is_file()
    assert len(namespace["figure"].axes[0].lines) == 6  # five seeds and the majority baseline
    with (outcome.out / "report" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = {(row["method"], row["seed"]): float(row["value"]) for row in rows}
    mean = statistics.fmean(scores["lorasp", str(seed)] - scores["lora", str(seed)] for seed in range(5))
    assert f"lorasp - lora: {mean:+.1f} points" in capsys.readouterr().out
