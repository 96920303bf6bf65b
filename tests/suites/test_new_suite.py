"""A suite with a metric of its own is two files: run from a folder, it is scored, and the report knows its metric."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.cli.main import main
from harness.core.registry import load_all
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.planning.plan import make_plan
from reports.statistics.evidence import sum_influences
from reports.statistics.examples import load_examples
from tests.harness.test_plugins import registered
from tests.reports.predicted import guesses, kept

METRIC = """
from harness.core.method import METRICS, Metric


@METRICS.register("error_rate")
class ErrorRate(Metric):
    name = "error_rate"

    def compute(self, predictions, references):
        return 100.0 * float((predictions != references).mean())

    def compute_weighted(self, predictions, references, weights):
        return 100.0 * (weights @ (predictions != references).T) / weights.sum(axis=1, keepdims=True)
"""
SUITE = """
from harness.core.method import SUITES, Average, Example, Suite, SuiteOption, SuitePreset, Task, TaskData


@SUITES.register("toy")
class Toy(Suite):
    name = "toy"
    summary = "numbers as words"
    options = (SuiteOption("shift", int, "added to each number", 0),)
    presets = {"quick": SuitePreset("embedded:encoder", {"max_length": 8})}
    tasks = {"parity": Task("parity", ("even", "odd"), ("validation",), ("error_rate", "accuracy"))}
    averages = (Average("toy", {"parity": ("error_rate",)}),)

    def load(self, task, request):
        shift = self.get_option("shift")
        rows = [Example(f"n/{n}", ("good film" if n % 2 else "bad film",), (n + shift) % 2) for n in range(80)]
        return TaskData({"train": tuple(rows[:40]), "validation": tuple(rows[40:])}, f"{shift:064}", "made up")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    (folder / "metric.py").write_text(METRIC)
    (folder / "suite.py").write_text(SUITE)
    run(folder, "run", "--methods", "lora,head", "--no-profile", "--formats", "md,csv", "--figures", "", "--out", "out")
    return folder


def run(folder: Path, verb: str, *words: str) -> str:
    """In a process of its own, so that what the files register ends with it."""
    plugins = ("--plugin", str(folder / "metric.py"), "--plugin", str(folder / "suite.py"))
    command = [sys.executable, "-m", "harness", verb, *plugins, "--suite", "toy", "--seeds", "2", "--max-steps", "2"]
    out = [str(folder / word) if word == "out" else word for word in words]
    done = subprocess.run([*command, *out], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_scores_are_those_of_the_kept_predictions(folder: Path) -> None:
    records = Store(folder / "out").read()[0].values()
    assert len(records) == 4
    for record in records:
        kept = pd.read_parquet(folder / "out" / "cells" / f"{record.key}.parquet")
        wrong = 100 * (kept.prediction != kept.target).mean()
        assert record.scores == pytest.approx({"error_rate": wrong, "accuracy": 100 - wrong})
        assert record.averages["toy"].score == pytest.approx(wrong)
        assert {"suite toy", "metric error_rate"} <= set(record.cell.parts)


def test_the_report_has_the_metric_and_its_evidence_per_example(folder: Path) -> None:
    report = (folder / "out" / "report" / "report.md").read_text()
    assert r"| parity† | error\_rate |" in report
    assert "infinitesimal jackknife" in report  # the weighted form gave an error over examples


def test_a_report_written_again_without_the_plugins_has_no_evidence_per_example(folder: Path) -> None:
    command = [sys.executable, "-m", "harness", "report", str(folder / "out"), "--to", str(folder / "again")]
    assert subprocess.run([*command, "--formats", "md", "--figures", ""], check=False).returncode == 0
    report = (folder / "again" / "report.md").read_text()
    assert r"| parity† | error\_rate |" in report and "infinitesimal jackknife" not in report


def test_an_error_over_examples_is_the_binomial_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 400)
    predictions = guesses(rng, targets, 0.7)
    share = float((predictions != targets).mean())
    (tmp_path / "metric.py").write_text(METRIC)
    with registered():
        load_all([tmp_path / "metric.py"])
        record = kept(tmp_path, predictions, targets, score=100 * share)
        examples = load_examples([record], ("error_rate",), {record.key: 100 * share}, tmp_path)
        error = float(np.sqrt(np.sum(sum_influences(examples) ** 2)))
    assert error == pytest.approx(100 * np.sqrt(share * (1 - share) / 399), rel=1e-6)


def test_an_option_of_the_plugin_changes_the_key(folder: Path) -> None:
    keys = []
    with registered():
        load_all([folder / "metric.py", folder / "suite.py"])
        for option in ((), ("shift=0",), ("shift=1",)):
            flags = {"suite": "toy", "methods": "head", "seeds": "1", "option": option}
            keys.append(make_plan(make_spec(flags)).cells[0].key)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["strategy", "method", "suite"])
def test_what_new_writes_passes_its_own_test(kind: str, tmp_path: Path) -> None:
    written = subprocess.run(
        [sys.executable, "-m", "harness", "new", kind, "my-own", "--out", str(tmp_path)], check=False
    )
    assert written.returncode == 0
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("strategy", "random-module", ""),
        ("method", "random", "would hide Python's module 'random'"),
        ("strategy", "numpy", "would hide Python's module 'numpy'"),
        ("suite", "example", "the code of the plugin uses this name"),
        ("suite", "task-data", "the code of the plugin uses this name"),
        ("strategy", "tuple", "the code of the plugin uses this name"),
    ],
)
def test_new_refuses_names_that_break_what_it_writes(
    kind: str, name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", kind, name, "--out", str(tmp_path)]) == (2 if says else 0)
    assert says in capsys.readouterr().err
    assert bool(list(tmp_path.iterdir())) == (not says)
