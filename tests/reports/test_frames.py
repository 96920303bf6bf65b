"""Sorting records into a grid, and naming methods so that no two are mixed."""

from __future__ import annotations

from reports.frames import grids, method_names, score, seed_text
from tests.reports.records import cell, grid_of, record


def test_tasks_follow_the_average_and_methods_their_first_appearance() -> None:
    (grid,) = grids(grid_of({("rte", "lorasp"): [1.0], ("cola", "lora"): [2.0], ("wnli", "lora"): [3.0]}))
    assert grid.tasks == ("cola", "rte", "wnli") and grid.methods == ("lorasp", "lora")
    assert [r.scores["accuracy"] for r in grid.of("wnli", "lora")] == [3.0] and grid.of("wnli", "lorasp") == ()
    assert grid.declared("glue") == ("cola", "rte")


def test_a_key_that_comes_twice_counts_once() -> None:
    (grid,) = grids([record(1.0), record(2.0)])
    assert [r.scores["accuracy"] for r in grid.records] == [2.0]


def test_suites_are_kept_apart() -> None:
    found = grids([record(1.0), record(2.0, cell(suite="xnli"))])
    assert [g.suite for g in found] == ["glue", "xnli"] and all(len(g.records) == 1 for g in found)


def test_cells_of_one_label_are_told_apart_by_what_differs() -> None:
    same = [record(1.0, cell(seed=s, protocol={"lr": lr})) for s in (0, 1) for lr in (1e-3, 2e-3)]
    assert set(method_names(same).values()) == {"lora [lr=0.001]", "lora [lr=0.002]"}
    names = set(method_names([record(1.0, cell(dtype=d)) for d in ("fp32", "bf16")]).values())
    assert names == {"lora [dtype=fp32]", "lora [dtype=bf16]"}


def test_a_rate_that_differs_from_task_to_task_makes_no_second_method() -> None:
    found = [record(1.0, cell(task, protocol={"lr": lr})) for task, lr in (("cola", 1e-3), ("rte", 2e-3))]
    assert set(method_names(found).values()) == {"lora"}


def test_score_is_the_headline_else_the_first_metric_else_nothing() -> None:
    assert score(record(71.0), "glue") == 71.0
    assert score(record(71.0, cell("wnli")), "glue") == 71.0
    assert score(record(None), "glue") is None
    assert score(record(float("inf")), "glue") is None


def test_seed_text() -> None:
    assert seed_text({"init": 3, "mask": 3}) == "3" and seed_text({"mask": 3, "init": 0}) == "init=0;mask=3"
