"""Every command of the README and of the pages that users read is run, on the smallest budget; its numbers are real."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.bench import memory, startup, startup_process
from harness.bench.memory_process import measure_jobs
from harness.cli.main import main
from harness.core.store import Store
from results.loggers.base import LOGGERS
from scripts import readme_images
from tests.reports.records import cell, record, store_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = ("getting-started", "methods-and-strategies", "suites-and-your-own-data", "studies", "speed-and-memory")
"""Commands of limits.md need the hub; those of extending.md are run by test_extending.py."""
TEXTS = [README, *((ROOT / "docs" / f"{page}.md").read_text() for page in PAGES)]
COMMANDS = sorted({line for text in TEXTS for line in re.findall(r"^    (python -m harness .*)$", text, re.M)})
REFERENCE = ROOT / "results" / "reference" / "glue-minilm-h100-tuned"
SHORT = ["--max-steps", "1", "--eval-rows", "20", "--train-rows", "32", "--figures", "", "--no-profile"]
TINY = ["--batch-size", "2", "--length", "8", "--threads", "1"]
SHORT_BENCH = {
    "llm": ["--shape", "llama-tiny", "--lengths", "32", "--repeats", "2", "--threads", "1"],
    "step": ["--methods", "lora,full", "--strategies", "row", "--packs", "1,2", "--repeats", "2", *TINY],
    "memory": ["--strategies", "row", "--quantizations", "nf4", *TINY],
    "startup": ["--repeats", "1", "--threads", "1"],
    "recompute": ["--repeats", "2", *TINY],
}


def in_this_process(words: Sequence[str]) -> dict[str, float]:
    """What `bench startup` has a fresh process tell, without the seconds of the imports."""
    if len(words) == 2:
        return {"process": 1.0}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        startup_process.main(*words[1:])
    return {"process": 1.0} | json.loads(said.getvalue())


def store_examples(folder: Path) -> Path:
    """A run of rte with predictions: two methods, two seeds."""
    made = [record(50.0, cell("rte", method, seed)) for method in ("lora", "lorasp") for seed in range(2)]
    store_of(folder, made)
    for number, one in enumerate(made):
        ids = [f"validation/{i}" for i in range(4)]
        columns = {"id": ids, "split": "validation", "target": [0, 1, 0, 1], "prediction": [0, 1, 1, number % 2]}
        Store(folder).write(one, pd.DataFrame(columns))
    return folder


def test_commands_are_found() -> None:
    assert len(COMMANDS) >= 30
    assert len(README.splitlines()) < 120  # the first minute of a reader; all else is in the pages


SLOW = (
    *("bench memory", "bench step", "bench grid", "profile --methods", "--tune ", "--log ", "--suite domain"),
    *("shape:roberta-base", "--suite xnli", "harness fit", "bench llm", "bench recompute", "--devices cpu:2"),
)
"""Parts of commands that take many seconds even when they are short."""


def mark_slow(command: str) -> object:
    is_slow = any(part in command for part in SLOW)
    return pytest.param(command, marks=pytest.mark.slow) if is_slow else command


@pytest.mark.parametrize("command", map(mark_slow, COMMANDS))
def test_command(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # their processes, one for each number, are run by tests/harness/bench
    monkeypatch.setattr(memory, "_run_in_process", measure_jobs)
    monkeypatch.setattr(startup, "_run_fresh", in_this_process)
    timeline = {"process": 3.0, "imported": 0.5, "first step": 1.0, "last record": 2.0}
    monkeypatch.setattr(startup, "_run_command", lambda spec, flags: timeline)
    run = store_of(tmp_path / "stored", [record(60.0)])
    places = {
        "RUN": str(run),
        "RUN_A": str(run),
        "RUN_B": str(run),
        "KEY": record(60.0).key[:6],
    }
    words = [places.get(word, word) for word in shlex.split(command)[3:]]
    words = [str(ROOT / word) if word.startswith("results/reference/") else word for word in words]
    if words[0] == "board":
        words[1] = str(run.parent)
    if words[0] == "examples":
        words[1] = str(store_examples(tmp_path / "examples"))
    for _, logger in LOGGERS:
        monkeypatch.setattr(logger, "load", MagicMock())  # their packages are optional
    if words[0] == "run":
        words += [*SHORT, "--out", "out"]
    if words[0] == "fit":  # a small shape in the place of large ones, which tests of its own measure
        words += ["--methods", "lora", "--shapes", "minilm", "--batch-sizes", "1", "--lengths", "128"]
    if words[:2] == ["bench", "grid"]:
        words += [*SHORT[:-1], "--threads", "1"]
    words += SHORT_BENCH.get(words[1], []) if words[0] == "bench" else []
    code = main([w for w in words])
    if any(word.startswith(("DATA", "RUN", "USER/", "--with-text")) for word in words):
        assert code == 2  # the reader's own folder, account on the hub or rows
    else:
        assert code == 0
        assert words[0] != "run" or (tmp_path / "out" / "report" / "report.html").is_file()


def test_file_tree_names_what_is_there() -> None:
    tree = README.split("## Where things are")[1]
    top = re.findall(r"^    (\w+)/", tree, re.M)
    inner = re.findall(r"^      (\w+)/", tree, re.M)
    assert {"harness", "methods", "suites", "reports", "results", "studies"} <= set(top)
    assert all((ROOT / name).is_dir() for name in top)
    assert set(inner) == {p.parent.name for p in (ROOT / "harness").glob("*/__init__.py")}
    # in the folders of the tree only: the checkout may also hold an environment of many thousands of files
    found = {path.name for folder in top for path in (ROOT / folder).rglob("*") if path.is_dir()} | set(top)
    assert set(re.findall(r" (\w+)/ ", tree)) <= found


def test_make_targets_exist() -> None:
    for target in re.findall(r"^    make (\w+)", README, re.M):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert sys.version_info >= (3, 11)


def read_rows(text: str, columns: int) -> dict[str, list[str]]:
    """First cell -> other cells of the rows with so many columns."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows if len(row) == columns}


def test_numbers_of_the_table_are_those_of_the_reference_run() -> None:
    rows = pd.read_csv(REFERENCE / "scores.csv")
    by_task = rows.groupby(["method", "seed", "task"]).value.mean()
    means = by_task.groupby(["method", "seed"]).mean()
    assert (rows.status == "ok").all() and rows.task.nunique() == 6 and rows.seed.nunique() == 10
    table = read_rows(README.split("## A real result")[1].split("## Next")[0], 5)
    del table["method"]
    report = (REFERENCE / "report" / "report.md").read_text()
    costs = read_rows(report.split("### Cost\n")[1].split("###")[0], 9)
    assert set(table) == {"full", "lora", "lora:rank=8", "lorasp"}
    for method, (trained, score, difference, peak) in table.items():
        scores = means[method]
        half_width = stats.t.ppf(0.975, len(scores) - 1) * scores.sem()
        assert score == f"{scores.mean():.1f} ± {half_width:.1f}"
        assert trained == costs[method][3 if method == "full" else 0] and peak == costs[method][5]
        if method == "lora":
            assert difference == ""
            continue
        start = rf"^\| mean of 6 tasks \| {re.escape(method)} \| lora \| 10 \| (\S+) \| ([^|]+) \| seeds and examples"
        ((mean, interval),) = re.findall(start, report, re.M)
        assert difference == f"{mean} ({interval})"
        assert mean == f"{(scores - means['lora']).mean():+.1f}"


def test_statements_on_collapses_and_memory() -> None:
    prose = " ".join(README.split())
    report = (REFERENCE / "report" / "report.md").read_text()
    costs = read_rows(report.split("### Cost\n")[1].split("###")[0], 9)
    lora, lorasp = (float(costs[name][5].removesuffix(" MiB")) for name in ("lora", "lorasp"))
    assert f"saves {lora - lorasp:.2f} of {lora:.1f} MiB" in prose
    assert f"the head ({costs['lora'][2]} parameters)" in prose
    (line,) = [x for x in report.splitlines() if re.match(r"\| stsb \| lorasp \| lora \|", x)]
    collapsed, first = line.split("|")[12].strip().split(", ")
    assert f"{first} seeds of lora and {collapsed} of lorasp collapsed" in prose
    primary = [x for x in report.splitlines() if x.startswith("| mean of 6 tasks |") and "| lora | 10 |" in x]
    assert f"over the {len(primary)} comparisons with lora" in prose


def test_picture_has_the_means_and_seeds_of_the_reference_run(tmp_path: Path) -> None:
    rows = pd.read_csv(REFERENCE / "scores.csv")
    means = readme_images.read_means()
    for method in readme_images.METHODS:
        own = rows[rows.method == method].pivot_table(index="seed", columns="task", values="value", aggfunc="mean")
        assert np.allclose(means[method], own.mean(axis=1))
    readme_images.draw_means(means, tmp_path / "again.svg")
    kept = (ROOT / "docs" / "images" / "tuned-scores.svg").read_text()
    assert len(kept) == pytest.approx(len((tmp_path / "again.svg").read_text()), rel=0.05)
