"""The study from its command to its report, from training and from a stored table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import scipy.stats

from harness.cli.main import main
from harness.core.listener import Listener
from harness.runner.run import RunResult, load_run, run

REFERENCE = Path(__file__).parents[3] / "results" / "reference" / "surface-minilm-h100"
SMALL = """
question = "?"
claim = "lorasp is not worse than lora."
origin = "a test"
rule = "surface"
margin = 1.0
compares = false
[[grids]]
tasks = "cola"
methods = "lora,lorasp"
lr = [1e-3, 4e-3]
max_steps = 4
seeds = "2"
confirm = 3
validation = true
profile = false
[options]
reference = "lora"
subject = "lorasp"
against = ["lora"]
others = []
near = 2.0
collapse = 2.0
[answers]
confirmed = "yes"
contradicted = "no"
undecided = "not known"
"""


def test_a_study_trains_its_stages_and_is_judged_again_from_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = tmp_path / "small.toml"
    declared.write_text(SMALL)
    first, again = tmp_path / "first", tmp_path / "again"
    assert main(["study", str(declared), "--out", str(first), "--formats", "md", "--figures", "svg"]) == 0
    runs = pd.read_parquet(first / "surface.parquet")
    assert runs.groupby("stage").size()["confirm"] == 2 * 3
    searched = runs[runs["stage"] == "search"]
    # two rates, and two beyond the edge for each method whose best rate lies there: with two rates it always does
    assert len(searched) == 2 * 2 * 4 and set(searched["seed"]) == {0, 1}
    assert set(runs[runs["stage"] == "confirm"]["seed"]) == {2, 3, 4}
    assert {path.suffix for path in (first / "report").rglob("*") if path.is_file()} == {".md", ".svg"}
    assert main(["study", str(declared), "--runs", str(first), "--out", str(again), "--formats", "md"]) == 0
    answers = [json.loads((folder / "study.json").read_text()) for folder in (first, again)]
    same = ("kind", "sentence", "parts", "evidence", "notes", "stand_in")
    assert [answers[0][name] for name in same] == [answers[1][name] for name in same]
    assert not (again / "cells").exists()
    capsys.readouterr()
    assert main(["report", str(first), "--formats", "md", "--to", str(tmp_path / "rewritten")]) == 0
    assert (tmp_path / "rewritten" / "report.md").read_text() == (first / "report" / "report.md").read_text()


def test_a_report_of_an_interrupted_study_has_the_stages_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared, out, stages = tmp_path / "small.toml", tmp_path / "out", []
    declared.write_text(SMALL.replace("max_steps = 4", "max_steps = 1\neval_rows = 20\ntrain_rows = 50"))

    def interrupt_second(*args: Any, **kwargs: Any) -> RunResult:
        stages.append(kwargs["select"])
        if len(stages) == 2:
            args = (*args[:2], raise_interrupt, *args[3:])
        return run(*args, **kwargs)

    monkeypatch.setattr("studies.runner.run", interrupt_second)
    words = ["study", str(declared), "--out", str(out), "--formats", "md", "--figures", "svg"]
    assert main(words) == 130
    assert len(load_run(out)[0]) == 2 * 2 * 2
    assert main(["report", str(out), "--formats", "md"]) == 0
    assert main(words) == 0 and (pd.read_parquet(out / "surface.parquet")["stage"] == "confirm").sum() == 2 * 3


def raise_interrupt(cells: int) -> Listener:
    """Comes when run.json has the cells of the stage, before they train."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["surface", "--runs", "missing"], "surface.parquet|missing.*cannot be read"),
        (["surface", "--runs", "missing,other"], "give one folder"),
        (["scaling", "--runs", "missing"], "scaling trains its own cells"),
    ],
)
def test_a_table_that_cannot_be_judged_is_one_line(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["study", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and pd.Series([line]).str.contains(says).all()


def test_a_table_of_another_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd.DataFrame({"task": ["cola"]}).to_parquet(tmp_path / "surface.parquet")
    assert main(["study", "surface", "--runs", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "has no column suite" in capsys.readouterr().err


DAMAGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "no runs": lambda runs: runs.iloc[:0],
    "more than one run": lambda runs: pd.concat([runs, runs.iloc[:1]]),
    "more than one run of .* confirm": lambda runs: pd.concat(
        [runs, runs[runs["stage"] == "confirm"].iloc[:1].assign(lr=0.5)]
    ),
    "text in column score": lambda runs: runs.assign(score=runs["score"].astype(str)),
    "runs without seed": lambda runs: runs.assign(seed=math.nan),
    "not finite": lambda runs: runs.assign(score=math.inf),
    "not above 0": lambda runs: runs.assign(lr=-runs["lr"]),
    "stage 'third'": lambda runs: runs.assign(stage="third"),
}


@pytest.mark.parametrize("says", DAMAGES)
def test_a_damaged_table_is_refused_in_one_line(says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DAMAGES[says](pd.read_parquet(REFERENCE / "surface.parquet")).to_parquet(tmp_path / "surface.parquet")
    assert main(["study", "surface", "--runs", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert pd.Series([line]).str.contains(says).all() and not (tmp_path / "o").exists()


def test_the_stored_runs_give_the_figures_of_a_recomputation(tmp_path: Path) -> None:
    """Against pandas and scipy alone: rates by validation, and the differences at these rates on fresh seeds."""
    assert main(["study", "surface", "--runs", str(REFERENCE), "--out", str(tmp_path), "--formats", "csv"]) == 0
    answer = json.loads((tmp_path / "study.json").read_text())
    runs = pd.read_parquet(REFERENCE / "surface.parquet")
    search, confirm = (runs[runs["stage"] == stage] for stage in ("search", "confirm"))
    assert not set(search["seed"]) & set(confirm["seed"]) and (confirm.groupby(["task", "method"]).size() == 100).all()
    validation = search.groupby(["task", "method", "lr"])["validation"].mean()
    for (task, method), rates in confirm.groupby(["task", "method"])["lr"].unique().items():
        (rate,) = rates
        assert validation[task, method, rate] == pytest.approx(validation[task, method].max(), abs=1e-3)
    scores = confirm.pivot(index=["task", "seed"], columns="method", values="score")
    for row in answer["evidence"]:
        differences = (scores[row["method"]] - scores[row["against"]]).groupby("task")
        variances = differences.var(ddof=1) / differences.size()
        df = variances.sum() ** 2 / (variances**2 / (differences.size() - 1)).sum()
        mean, se = differences.mean().mean(), math.sqrt(variances.sum()) / len(variances)
        half = scipy.stats.t.ppf(0.975, df) * se
        assert row["difference"] == f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"
