"""Stages of a surface: what trains in each, on a real plan and made-up scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from harness.core.errors import UserError
from harness.core.record import Record
from harness.core.spec import Spec
from harness.core.spec_reading import make_spec
from harness.planning.plan import Plan, make_plan
from studies.declared_rates import check_rates, list_rates, select_rates
from studies.study import load_study
from studies.surface.stages import check_grids, check_spec, name_fresh_seeds, run_stages
from tests.reports.records import record


class Trainer:
    """Gives each planned cell the validation score that `score` says, and remembers the cells of each stage."""

    def __init__(self, score: Callable[[str, str, float], float]) -> None:
        self.score, self.stages = score, []  # type: ignore[var-annotated]

    def __call__(self, spec: Spec, select: Callable[[Plan], Plan]) -> Sequence[Record]:
        cells = [planned.cell for planned in select(make_plan(spec)).cells]
        self.stages.append({(c.task, c.label, c.protocol.lr, c.seeds["init"]) for c in cells})
        return [
            record(50.0, c, scores={"accuracy": 50.0, "accuracy_heldout": self.score(c.task, c.label, c.protocol.lr)})
            for c in cells
        ]


SPEC: dict[str, Any] = {
    "tasks": "rte,sst2",
    "methods": "lora,lorasp",
    "lr": "1e-3,2e-3,4e-3",
    "seeds": "2",
    "validation": True,
}


def test_a_best_rate_inside_the_grid_is_confirmed_on_fresh_seeds() -> None:
    best = {("rte", "lora"): 2e-3, ("rte", "lorasp"): 2e-3, ("sst2", "lora"): 2e-3, ("sst2", "lorasp"): 2e-3}
    trainer = Trainer(lambda task, method, rate: 90.0 if rate == best[task, method] else 60.0)
    list(run_stages(make_spec(SPEC), 3, trainer))
    assert [len(stage) for stage in trainer.stages] == [2 * 2 * 3 * 2, 2 * 2 * 3]
    assert trainer.stages[1] == {(t, m, 2e-3, seed) for t, m in best for seed in (2, 3, 4)}


def test_the_grid_is_extended_once_where_its_edge_is_best_and_only_there() -> None:
    def score(task: str, method: str, rate: float) -> float:
        # lorasp on rte improves with each higher rate; everything else is best in the middle
        return 1e4 * rate if (task, method) == ("rte", "lorasp") else 90.0 - abs(rate - 2e-3) * 1e4

    trainer = Trainer(score)
    list(run_stages(make_spec(SPEC), 1, trainer))
    assert trainer.stages[1] == {("rte", "lorasp", rate, seed) for rate in (8e-3, 0.016) for seed in (0, 1)}
    assert trainer.stages[2] == {
        ("rte", "lora", 2e-3, 2),
        ("rte", "lorasp", 0.016, 2),
        ("sst2", "lora", 2e-3, 2),
        ("sst2", "lorasp", 2e-3, 2),
    }


def test_rates_that_all_diverge_end_the_study_with_a_message() -> None:
    with pytest.raises(UserError, match="no learning rate of the search"):
        list(run_stages(make_spec(SPEC), 1, Trainer(lambda *_: float("nan"))))


@pytest.mark.parametrize(
    ("searching", "fresh"),
    [
        ("5", "5..14"),
        ("5,length=0", "5..14,length=0"),
        ("3..7", "8..17"),
        ("init=0..3,mask=1", "4..13,mask=1"),
        ("init=0..1,mask=7..8", "9..18"),
    ],
)
def test_fresh_seeds_follow_those_of_the_search(searching: str, fresh: str) -> None:
    assert name_fresh_seeds(searching, 10) == fresh


def test_a_grid_that_cannot_be_confirmed_is_refused() -> None:
    (grid,) = load_study("surface").grids
    check_grids("x", [grid])
    for change in ({"validation": False}, {"confirm": 1}, {"confirm": "5..9"}):
        with pytest.raises(UserError, match="confirm"):
            check_grids("x", [grid | change])


@pytest.mark.parametrize("axis", [{"batch_size": "8,16"}, {"max_steps": "5,9"}, {"epochs": "1,2"}])
def test_each_batch_size_and_budget_is_confirmed_at_its_own_rate(axis: dict[str, str]) -> None:
    (field,) = axis

    class Recorder(Trainer):
        def __call__(self, spec: Spec, select: Callable[[Plan], Plan]) -> Sequence[Record]:
            cells = [planned.cell for planned in select(make_plan(spec)).cells]
            values = [int(value) for value in axis[field].split(",")]
            best = dict(zip(values, (2e-3, 4e-3), strict=True))
            self.stages.append({(getattr(c.protocol, field), c.protocol.lr, c.seeds["init"]) for c in cells})
            scores = [90.0 if c.protocol.lr == best[getattr(c.protocol, field)] else 60.0 for c in cells]
            return [
                record(50.0, c, scores={"accuracy": 50.0, "accuracy_heldout": score})
                for c, score in zip(cells, scores, strict=True)
            ]

    recorder = Recorder(lambda *_: 0.0)
    spec = SPEC | axis | {"tasks": "rte", "methods": "lora", "lr": "1e-3,2e-3,4e-3,8e-3"}
    list(run_stages(make_spec(spec), 2, recorder))
    low, high = (int(value) for value in axis[field].split(","))
    assert recorder.stages[-1] == {(v, rate, seed) for v, rate in ((low, 2e-3), (high, 4e-3)) for seed in (2, 3)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lr": "1e-3"}, "two or more"),
        ({"weight_decay": "0,0.1"}, "weight-decay=0.0,0.1"),
        ({"schedule": "linear,constant"}, "schedule=linear,constant"),
        ({"dtype": "fp32,bf16"}, "dtype=fp32,bf16"),
        ({"max_cells": 3}, "max-cells"),
        ({"seeds": "mask=0..2"}, "--seeds mask=0..2"),
    ],
)
def test_flags_with_which_no_rate_can_be_chosen_are_refused(change: dict[str, Any], says: str) -> None:
    check_spec("x", make_spec(SPEC), 3)
    check_spec("x", make_spec(SPEC | change), 0)
    with pytest.raises(UserError, match=says):
        check_spec("x", make_spec(SPEC | change), 3)


def test_each_method_searches_the_rates_that_are_declared_for_it() -> None:
    rates = {"lora": [1e-3, 2e-3, 4e-3], "full": [1e-5, 1e-4, 1e-3]}
    best = {"lora": 2e-3, "full": 1e-4}
    trainer = Trainer(lambda task, method, rate: 90.0 if rate == best[method] else 60.0)
    spec = make_spec(SPEC | {"methods": "lora,full", "lr": list_rates(rates), "tasks": "rte"})
    list(run_stages(spec, 3, trainer, select_rates(rates)))
    assert {(m, rate) for _, m, rate, _ in trainer.stages[0]} == {(m, r) for m, own in rates.items() for r in own}
    assert trainer.stages[1] == {("rte", m, best[m], seed) for m in best for seed in (2, 3, 4)}


def test_rates_by_task_are_kept_and_one_that_is_missing_is_named() -> None:
    rates = {"lora": {"rte": 1e-3, "sst2": 2e-3}, "lorasp": 4e-3}
    plan = make_plan(make_spec(SPEC | {"lr": list_rates(rates), "seeds": "1"}))
    kept = {(c.cell.task, c.cell.label, c.cell.protocol.lr) for c in select_rates(rates)(plan).cells}
    assert kept == {("rte", "lora", 1e-3), ("sst2", "lora", 2e-3), ("rte", "lorasp", 4e-3), ("sst2", "lorasp", 4e-3)}
    with pytest.raises(UserError, match="rates: none for lorasp on rte"):
        select_rates({"lora": 1e-3})(plan)


@pytest.mark.parametrize("rates", [[1e-3], {"lora": []}, {"lora": "1e-3"}, {"lora": -1.0}, {"lora": {"rte": True}}])
def test_rates_of_another_form_are_refused(rates: Any) -> None:
    with pytest.raises(UserError, match="give a rate for each method, as in"):
        check_rates("mine", rates)
