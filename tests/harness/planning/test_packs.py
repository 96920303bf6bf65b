"""Which cells train together."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.cell import Cell
from harness.core.method import SUITES, TaskData
from harness.models.source import ModelSource
from harness.planning.packs import Pack, SizeLimit, group_cells, group_remaining
from harness.planning.planned_cell import PlannedCell
from tests.reports.records import cell, restore_method


def plan_cells(cells: list[Cell]) -> list[PlannedCell]:
    """Cells as a plan has them: those that differ in their seeds share their method."""
    methods = {(c.method, repr(c.options)): restore_method(c) for c in cells}
    suite, data = SUITES.get("glue")(), TaskData({"train": ()}, "", "test")
    source = ModelSource("test", Path(), cells[0].model, "as stored", stand_in=True)
    return [PlannedCell(c, methods[c.method, repr(c.options)], suite, data, source) for c in cells]


def grouped(cells: list[Cell], most: SizeLimit = 16) -> list[Pack]:
    return group_cells(plan_cells(cells), most)


def test_lora_and_lorasp_of_any_rank_rate_and_seed_share_a_pack() -> None:
    cells = [cell(method="lora", seed=s) for s in range(3)]
    cells += [cell(method="lorasp", options={"rank": 4}, protocol={"lr": 0.1, "epochs": 1.0})]
    (pack,) = grouped(cells)
    assert pack.cells == tuple(cells) and [m.name for m in pack.methods] == ["lora"] * 3 + ["lorasp"]


@pytest.mark.parametrize(
    "other",
    [
        {"task": "rte"},
        {"method": "head"},
        {"dtype": "bf16"},
        {"quantize": "int8"},
        {"recompute": "full"},
        {"data": "other rows"},
        {"protocol": {"batch_size": 8}},
        {"protocol": {"max_length": 64}},
        {"protocol": {"train_rows": 10}},
        {"protocol": {"eval_rows": 10}},
        {"protocol": {"group_by_length": True}},
        {"protocol": {"label_smoothing": 0.1}},
    ],
)
def test_what_changes_the_batch_or_the_backbone_parts_them(other: dict[str, object]) -> None:
    assert len(grouped([cell(), cell(**other)])) == 2  # type: ignore[arg-type]


def test_a_pack_of_length_groups_has_one_length_seed() -> None:
    cells = [
        cell(method=name, protocol={"group_by_length": True}).model_copy(
            update={"seeds": {"order": s, "length": s // 2}}
        )
        for name in ("lora", "lorasp")
        for s in range(4)
    ]
    packs = grouped(cells)
    assert [[c.seeds["length"] for c in p.cells] for p in packs] == [[0] * 4, [1] * 4]


def test_full_fine_tuning_trains_alone() -> None:
    assert [len(p.cells) for p in grouped([cell(method="full", seed=s) for s in range(3)])] == [1, 1, 1]


@pytest.mark.parametrize(
    ("count", "most", "sizes"), [(10, 16, [10]), (20, 16, [10, 10]), (5, 2, [2, 1, 2]), (3, 1, [1] * 3)]
)
def test_packs_are_of_even_size_and_hold_each_cell_once(count: int, most: int, sizes: list[int]) -> None:
    cells = [cell(seed=s) for s in range(count)]
    packs = grouped(cells, most)
    assert sorted(len(p.cells) for p in packs) == sorted(sizes)
    assert [c for p in packs for c in p.cells] == cells


def test_halves_and_singles() -> None:
    (pack,) = grouped([cell(seed=s) for s in range(5)])
    assert [len(p.cells) for p in pack.split()] == [3, 2] and [len(p.cells) for p in pack.split_into_cells()] == [1] * 5
    assert len(pack.split_into_cells()[0].split()) == 1


def test_packs_that_an_earlier_run_did_not_begin_stay_what_they_are() -> None:
    cells = [cell(seed=s) for s in range(11)] + [cell("rte", seed=s) for s in range(3)]
    planned = plan_cells(cells)
    every = group_cells(planned, 4)
    assert [len(p.cells) for p in every] == [4, 3, 4, 3]
    assert group_remaining(planned, [c.key for c in cells], 4) == every
    assert group_remaining(planned, [c.key for c in cells[4:]], 4) == every[1:]
    assert [len(p.cells) for p in group_cells(planned[4:], 4)] == [4, 3, 3]  # not the same: 3, 4, 3


def test_what_is_left_of_packs_is_put_together() -> None:
    cells = [cell(seed=s) for s in range(12)]
    planned = plan_cells(cells)
    left = [cells[i] for i in (1, 2, 4, 5, 6, 7, 9)]  # of 0-3 and 8-11 some are done
    packs = group_remaining(planned, [c.key for c in left], 4)
    assert [[cells.index(c) for c in p.cells] for p in packs] == [[1, 2, 9], [4, 5, 6, 7]]
    asked: list[int] = []
    assert group_remaining(planned, [], lambda members: asked.append(len(members)) or 4) == [] and asked == []
