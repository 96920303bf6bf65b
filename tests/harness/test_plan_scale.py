"""A plan of many cells takes time in proportion to them."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from harness import capacity
from harness.forecast import forecast
from harness.record import MemoryShares
from harness.spec import make_spec
from harness.trace import Prediction


def predicted(step: object, k: int) -> Prediction:
    """Any: predictions are made once a method, whatever the number of cells."""
    return Prediction(k, MemoryShares(**dict.fromkeys(MemoryShares.model_fields, 1000 * k)), 10 * k, 5 * k, 10)


def calls_of_a_plan(seeds: int) -> int:
    """Python calls: a measure of time that other load does not move."""
    count = 0

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call"

    spec = make_spec({"tasks": ("rte", "cola"), "seeds": str(seeds), "device": "cpu"})
    sys.setprofile(profile)
    try:
        made = forecast(spec, None)
    finally:
        sys.setprofile(None)
    assert made["cells"] == 4 * seeds
    return count


def test_four_times_the_cells_take_about_four_times_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_predicted", predicted)
    calls_of_a_plan(1)  # imports
    once = calls_of_a_plan(1)  # rows and the shapes of the model
    small, large = (calls_of_a_plan(seeds) - once for seeds in (50, 200))
    assert large < 6 * small
