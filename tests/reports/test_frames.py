"""Sorting records into a grid, and naming methods so that no two are mixed."""

from __future__ import annotations

import pytest

from harness.core.cell import InitialRef
from reports.frames import build_grids, build_method_names, format_seeds, get_score
from tests.reports.records import cell, grid_of, record


def test_tasks_follow_the_average_and_methods_their_first_appearance() -> None:
    (grid,) = build_grids(grid_of({("rte", "lorasp"): [1.0], ("cola", "lora"): [2.0], ("wnli", "lora"): [3.0]}))
    assert grid.tasks == ("cola", "rte", "wnli") and grid.methods == ("lorasp", "lora")
    assert [r.scores["accuracy"] for r in grid.of("wnli", "lora")] == [3.0] and grid.of("wnli", "lorasp") == ()
    assert grid.list_tasks("glue") == ("cola", "rte")


def test_a_key_that_comes_twice_counts_once() -> None:
    (grid,) = build_grids([record(1.0), record(2.0)])
    assert [r.scores["accuracy"] for r in grid.records] == [2.0]


def test_suites_are_kept_apart() -> None:
    found = build_grids([record(1.0), record(2.0, cell(suite="xnli"))])
    assert [g.suite for g in found] == ["glue", "xnli"] and all(len(g.records) == 1 for g in found)


def test_cells_of_one_label_are_told_apart_by_what_differs() -> None:
    same = [record(1.0, cell(seed=s, protocol={"lr": lr})) for s in (0, 1) for lr in (1e-3, 2e-3)]
    assert set(build_method_names(same).values()) == {"lora [lr=0.001]", "lora [lr=0.002]"}
    names = set(build_method_names([record(1.0, cell(dtype=d)) for d in ("fp32", "bf16")]).values())
    assert names == {"lora [dtype=fp32]", "lora [dtype=bf16]"}


def test_a_rate_that_differs_from_task_to_task_makes_no_second_method() -> None:
    found = [record(1.0, cell(task, protocol={"lr": lr})) for task, lr in (("cola", 1e-3), ("rte", 2e-3))]
    assert set(build_method_names(found).values()) == {"lora"}


def test_methods_that_differ_in_budget_or_precision_are_named_by_it() -> None:
    """Cells of two runs copied together: neither label varies in itself, so nothing else would say it."""
    joined = [record(1.0, cell(seed=s, protocol={"max_steps": 100})) for s in (0, 1)]
    joined += [record(2.0, cell(method="lorasp", seed=s, protocol={"max_steps": 200}, dtype="bf16")) for s in (0, 1)]
    named = {"lora [max_steps=100, dtype=fp32]", "lorasp [max_steps=200, dtype=bf16]"}
    assert set(build_method_names(joined).values()) == named
    fair = [
        record(1.0, cell(method=m, protocol={"lr": lr, "max_steps": 9})) for m, lr in (("lora", 1.0), ("full", 2.0))
    ]
    assert set(build_method_names(fair).values()) == {"lora", "full"}  # a rate is each method's own


def test_a_method_that_is_named_by_a_field_leaves_the_others_alone() -> None:
    found = [record(1.0, cell(method="lorasp", quantize=q)) for q in ("none", "nf4")]
    found += [record(1.0, cell(method="lora"))]
    assert set(build_method_names(found).values()) == {"lorasp [quantize=none]", "lorasp [quantize=nf4]", "lora"}


def test_cells_of_another_start_or_of_an_edited_plugin_are_no_second_run_of_the_same_seed() -> None:
    places = (("RUN:mnli", "a"), ("RUN:rte", "b"))
    starts = [InitialRef(name=name, revision=digit * 64, scaling="alpha=16") for name, digit in places]
    names = build_method_names([record(1.0, cell(initial=start)) for start in starts])
    assert set(names.values()) == {"lora [from=RUN:mnli]", "lora [from=RUN:rte]"}
    names = build_method_names([record(1.0, cell(parts={"strategy mine": text * 32})) for text in ("ab", "cd")])
    assert set(names.values()) == {"lora [parts=strategy mine abababab]", "lora [parts=strategy mine cdcdcdcd]"}


SCALING = {"scaling": "alpha=16"}


@pytest.mark.parametrize("source", ["/run:mnli", ""])
def test_seeds_that_start_from_the_adapters_of_a_run_are_one_method(source: str) -> None:
    """Also in records that were stored without a source."""
    found = []
    for number, method in ((seed, m) for m in ("lora", "lorasp") for seed in range(3)):
        name = f"/run/adapters/{number:016x}" if method == "lora" else f"/run/adapters/{number + 8:016x}"
        start = InitialRef(name=name, revision=f"{method}{number}", source=source, **SCALING)
        found.append(record(1.0, cell(method=method, seed=number, initial=start)))
    assert set(build_method_names(found).values()) == {"lora", "lorasp"}
    (grid,) = build_grids(found)
    assert grid.methods == ("lora", "lorasp") and all(len(group) == 3 for group in grid.cells.values())


def test_the_source_of_a_start_is_not_in_the_key() -> None:
    one, other = (InitialRef(name="a", revision="1", source=source, **SCALING) for source in ("", "/run:mnli"))
    assert cell(initial=one).key == cell(initial=other).key


def test_a_short_name_is_kept_and_stands_for_its_precision() -> None:
    meant = {"quantize": "nf4-dq", "dtype": "bf16"}
    found = [record(1.0, cell(method=m, **fields)) for m in ("lora", "lorasp") for fields in ({}, meant)]
    names = set(build_method_names(found).values())
    plain = {f"{m} [dtype=fp32, quantize=none]" for m in ("lora", "lorasp")}
    assert names == {"qlora", "qlorasp"} | plain
    assert cell(method="lora", **meant).label == "lora"
    assert cell(method="lora", quantize="nf4-dq").title == "lora"


def test_score_is_the_headline_else_the_first_metric_else_nothing() -> None:
    assert get_score(record(71.0), "glue") == 71.0
    assert get_score(record(71.0, cell("wnli")), "glue") == 71.0
    assert get_score(record(None), "glue") is None
    assert get_score(record(float("inf")), "glue") is None


def test_seed_text() -> None:
    assert format_seeds({"init": 3, "mask": 3}) == "3" and format_seeds({"mask": 3, "init": 0}) == "init=0;mask=3"
