"""Pack sizes from predicted memory, and what makes a step fit."""

from __future__ import annotations

import pytest

from harness.core.errors import UserError
from harness.core.spec_reading import make_spec
from harness.planning.packs import MAX_PACK_SIZE, group_cells
from harness.planning.plan import Plan, make_plan
from harness.profiling.capacity import (
    PLANNED_SHARE,
    Capacity,
    estimate_upper_bound,
    find_remedies,
    get_free_memory,
    parse_memory,
    read_dimensions,
)
from harness.profiling.prediction import Step
from harness.runner.forecast import forecast_run


def plan(**flags: object) -> Plan:
    return make_plan(make_spec({"tasks": ("rte",), "seeds": "4", "methods": "lora"} | flags))


def bound(step: Step, k: int) -> float:
    dimensions = read_dimensions(step)
    assert dimensions is not None
    return estimate_upper_bound(dimensions, step, k)


@pytest.mark.parametrize(
    "text, size",
    [("24GiB", 24 * 2**30), ("512 MiB", 2**29), ("1.5gb", 1500000000), ("7", 7), ("2 TiB", 2**41), ("24G", 24 * 10**9)],
)
def test_memory_is_read(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["much", "", "0", "0GiB", "-1GiB", "nan", "inf", "9" * 400, "0.1B", "3 apples"])
def test_a_wrong_memory_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match="24GiB"):
        parse_memory(text)


def test_a_memory_that_is_named_empty_is_refused_and_not_passed_over() -> None:
    with pytest.raises(UserError, match="--memory ''"):
        forecast_run(make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora"}), "")


def test_a_small_model_needs_no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan()
    capacity = Capacity("cpu", get_free_memory("cpu"))
    monkeypatch.setattr(capacity, "predicted", lambda *_: pytest.fail("predicted"))
    assert capacity.most(made.cells) == len(made.cells) == 4
    assert capacity.most(made.cells * 9) == MAX_PACK_SIZE["cpu"]
    # a cell alone trains alone, whatever the memory
    capacity.room = 0
    assert capacity.most(made.cells[:1]) == 1


def test_the_bound_is_above_the_prediction() -> None:
    made = plan()
    step = Capacity("cpu", 0).step(made.cells[0])
    four = Capacity("cpu", 0).predicted(step, 4)
    assert not isinstance(four, str) and bound(step, 4) > four.peak


def test_packs_are_as_large_as_memory_allows() -> None:
    made = plan()
    step = Capacity("cpu", 0).step(made.cells[0])
    capacity = Capacity("cpu", 0)
    two, three = (capacity.predicted(step, k) for k in (2, 3))
    assert not isinstance(two, str) and not isinstance(three, str)
    capacity.room = int((two.peak + three.peak) / 2 / PLANNED_SHARE)
    assert [len(p.cells) for p in group_cells(made.cells, capacity.most)] == [2, 2]


def test_what_is_not_predicted_is_bounded_by_the_closed_form() -> None:
    made = plan(methods="pissa", seeds="12")
    step = Capacity("cpu", 0).step(made.cells[0])
    assert isinstance(Capacity("cpu", 0).predicted(step), str)  # it reads the weights
    for k in (1, 3, 12):
        room = int(bound(step, k) / PLANNED_SHARE) + 1
        assert Capacity("cpu", room).most(made.cells) == k
    assert Capacity("cpu", 0).most(made.cells) == 1
    assert Capacity("cpu", 2**60).most(made.cells * 2) == MAX_PACK_SIZE["cpu"]


@pytest.mark.slow
def test_ways_to_fit_do_fit() -> None:
    made = plan()
    capacity = Capacity("cpu", 0)
    alone = capacity.predicted(capacity.step(made.cells[0]))
    assert not isinstance(alone, str)
    capacity.room = int(alone.peak * 0.7 / PLANNED_SHARE)
    ways = {way.flags: way.peak for way in find_remedies(capacity, made.cells[0])}
    assert "--recompute full" in ways and "--batch-size 8" in ways and "--quantize nf4" not in ways
    assert all(peak <= alone.peak * 0.7 for peak in ways.values())
    again = plan(batch_size=8)
    smaller = Capacity("cpu", 0).predicted(Capacity("cpu", 0).step(again.cells[0]))
    assert not isinstance(smaller, str) and smaller.peak == ways["--batch-size 8"]
