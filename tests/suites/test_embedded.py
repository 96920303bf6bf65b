"""The embedded data is what its script makes, and a model can learn it (figures of the quick preset)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import suites.embedded
from harness.core.listener import SilentListener
from harness.core.method import SUITES, SourceRequest
from harness.core.spec_reading import make_spec
from results.job import run_spec as run

FOLDER = Path(suites.embedded.__file__).parent


def test_data_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "scripts.embedded.generate", "--out", str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": "1"})
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*.tsv")}
    shipped = {p.relative_to(FOLDER / "data"): p.read_bytes() for p in (FOLDER / "data" / "glue").rglob("*.tsv")}
    assert len(shipped) == 19 and made == shipped


def test_model_is_small() -> None:
    assert (FOLDER / "models" / "encoder" / "model.safetensors").stat().st_size <= 2_000_000


@pytest.mark.parametrize("task", list(SUITES.get("glue").tasks))
def test_rows(task: str) -> None:
    suite = SUITES.get("glue")()
    data = suite.load(task, SourceRequest("embedded"))
    assert len(data.splits["train"]) >= 500
    assert all(len(data.splits[s]) >= 400 for s in suite.tasks[task].eval_splits)
    train = {row.texts for row in data.splits["train"]}
    assert not any(row.texts in train for s in suite.tasks[task].eval_splits for row in data.splits[s])
    assert data.fingerprint == suite.load(task, SourceRequest("embedded")).fingerprint


@pytest.mark.slow
def test_quick_preset_tells_methods_apart(tmp_path: Path) -> None:
    spec = make_spec({"methods": "lora,head,full", "seeds": "5", "out": tmp_path, "profile": False})
    outcome = run(spec, "test", lambda total: SilentListener(sys.stderr))
    rows = [
        (r.cell.task, r.cell.method, r.averages["glue"].score, r.majority)
        for r in outcome.records
        if r.averages["glue"].score is not None
    ]
    frame = pd.DataFrame(rows, columns=["task", "method", "score", "majority"])
    means = frame.pivot_table(index="task", columns="method", values="score")
    spread = frame.pivot_table(index="task", columns="method", values="score", aggfunc="std")
    majority = frame.groupby("task")["majority"].first()
    good = (
        (means["lora"] >= majority + 10)
        & (means["lora"] >= means["head"] + 4)
        & (means["full"] <= 96)
        & (spread["lora"] <= 3)
    )
    assert len(means) == 8 and good.sum() >= 7, f"{means.join(spread, rsuffix=' sd')}"
