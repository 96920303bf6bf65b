"""A plan of many cells takes time in proportion to them."""

from __future__ import annotations

import functools
import gc
import resource
import subprocess
import sys
from types import FrameType
from typing import Any

import pytest

from harness.core.profile import MemoryShares
from harness.core.spec_reading import make_spec
from harness.planning import preflight
from harness.profiling import capacity
from harness.profiling.prediction import Prediction
from harness.runner.forecast import forecast_run


def predicted(self: object, step: object, k: int) -> Prediction:
    """Any: predictions are made once a method, whatever the number of cells."""
    return Prediction(k, MemoryShares(**dict.fromkeys(MemoryShares.model_fields, 1000 * k)), 10 * k, 5 * k, 10)


def calls_of_a_plan(seeds: int) -> int:
    """Python calls: a measure of time that other load does not move."""
    count = 0

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call"

    spec = make_spec({"tasks": ("rte",), "methods": "lora", "seeds": str(seeds), "device": "cpu"})
    gc.disable()  # finalizers of what earlier tests left count as calls too
    sys.setprofile(profile)
    try:
        made = forecast_run(spec, None)
    finally:
        sys.setprofile(None)
        gc.enable()
    assert made["cells"] == seeds
    return count


def test_four_times_the_cells_take_four_times_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are multiples of a full pack, as work is by cell and by pack.

    What is done once a plan is several times the work of a hundred cells, and varies: models, and rows, are made once.
    """
    monkeypatch.setattr(capacity.Capacity, "_predict_cached", predicted)
    monkeypatch.setattr(preflight, "_build_skeleton", functools.cache(preflight._build_skeleton))
    for _ in range(2):
        calls_of_a_plan(16)  # imports and caches
    once, small, large = (calls_of_a_plan(seeds) for seeds in (16, 16 + 64, 16 + 256))
    assert large - once < 4.5 * (small - once)


@pytest.mark.slow
def test_a_plan_of_18000_cells_takes_seconds() -> None:
    command = [sys.executable, "-m", "harness", "plan", "--seeds", "1000", "--device", "cpu"]
    subprocess.run(command, check=True, capture_output=True)  # makes the predictions, which the next plan reads
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert lines[0].startswith("cells 18000,")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < 10  # 1.7 measured; CPU time grows several times on a busy machine
