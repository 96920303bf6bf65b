"""What the embedded translation and exam models learn: the stand-ins must have something to tell methods apart by."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.listener import SilentListener
from harness.core.spec_reading import make_spec
from results.job import run_spec as run


def scores(out: Path, metric: str, **flags: Any) -> dict[str, list[float]]:
    """Scores of lora by task, one a seed."""
    spec = make_spec({"methods": "lora", "out": out, "profile": False, "formats": ("csv",), "figures": ()} | flags)
    found: dict[str, list[float]] = {}
    for record in run(spec, "test", lambda total: SilentListener(io.StringIO())).records:
        assert record.status == "ok", record.reason
        found.setdefault(record.cell.task, []).append(record.scores[metric])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "steps"), [("1", 60), ("5", 200)])
def test_bleu_rises_by_fifteen_points(seeds: str, steps: int, tmp_path: Path) -> None:
    flags = {"suite": ("wmt16",), "eval_rows": 100}
    before = scores(tmp_path / "before", "bleu", **flags, seeds="1", max_steps=1, lr=1e-9)
    after = scores(tmp_path / "after", "bleu", **flags, seeds=seeds, max_steps=steps)
    assert set(after) == {"en-ro", "ro-en"}
    for task, found in after.items():
        assert np.mean(found) >= before[task][0] + 15 and np.mean(found) < 95


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "steps"), [("1", 100), ("5", 200)])
def test_the_exam_is_passed_after_instructions_and_guessed_before(seeds: str, steps: int, tmp_path: Path) -> None:
    before = scores(tmp_path / "before", "accuracy", suite=("mmlu",), seeds="1", max_steps=1, lr=1e-9)
    after = scores(tmp_path / "after", "accuracy", suite=("mmlu",), seeds=seeds, max_steps=steps)
    assert before["mmlu"][0] < 32
    assert all(38 <= score <= 95 for score in after["mmlu"])
