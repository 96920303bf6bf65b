"""Trials of tuning: cells of a method on a task that differ in what is searched, on a carved train split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.method import Method, Range
from harness.data.holdout import hold_out, limit_eval_splits
from harness.planning.plan import Plan
from harness.runner.tuning.search import Values, build_search_space, get_declared_values, propose


@dataclasses.dataclass(frozen=True)
class Arm:
    """A method on a task: its cells differ in seeds only. `trials`: for each of `values` a cell of the first seeds."""

    cells: tuple[Cell, ...]
    space: Mapping[str, Range]
    values: tuple[Values, ...]
    trials: tuple[tuple[Cell, ...], ...]

    @property
    def first(self) -> Cell:
        return self.cells[0]


def build_arms(plan: Plan, count: int, only: Sequence[str] = (), seeds: int = 1) -> tuple[list[Arm], list[Plan]]:
    """Arms, those of tasks outside of `only` without trials; and plans of all trials, one for each size of the rows.

    A trial is as many cells as `seeds` says. Raises UserError where the arms have fewer.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault(build_arm_key(cell), []).append(cell)
    arms: list[Arm] = []
    plans: dict[tuple[int | None, int | None], Plan] = {}
    for cells in groups.values():
        first, protocol = cells[0], cells[0].protocol
        rows = protocol.train_rows, protocol.eval_rows
        if len(cells) < seeds:
            runs = f"'{first.title}' on {first.task} runs {len(cells)} seeds"
            raise UserError(f"--tune-seeds {seeds}: {runs}; give no more than that")
        if only and first.task not in only:
            arms.append(Arm(tuple(cells), {}, (), ()))
            continue
        trial_plan = plans.get(rows) or dataclasses.replace(
            plan, cells=(), data={}, methods={}, dropped=(), named=frozenset()
        )
        arm, plans[rows] = _add_trials(plan, trial_plan, cells, count, seeds)
        arms.append(arm)
    return arms, list(plans.values())


def _add_trials(plan: Plan, own: Plan, cells: Sequence[Cell], count: int, seeds: int) -> tuple[Arm, Plan]:
    """The arm of the cells, and `own` with its trials."""
    first, method = cells[0], plan.methods[cells[0].key]
    space = build_search_space(method, first.protocol.lr)
    values = propose(space, get_declared_values(method, first.protocol.lr, space), count)
    place = first.suite, first.task
    suites = dict(own.suites)
    if place not in own.data:
        suites[first.suite] = limit_eval_splits(suites[first.suite], first.task)
    task = suites[first.suite].tasks[first.task]
    data = own.data.get(place) or hold_out(task, plan.data[place], first.protocol.train_rows, first.protocol.eval_rows)
    trials = [
        [
            _build_trial_cell(plan, cell, trial_values, f"trial {number} of {count}", data.fingerprint)
            for cell in cells[:seeds]
        ]
        for number, trial_values in enumerate(values, start=1)
    ]
    trial_cells = [pair for trial in trials for pair in trial]
    keys = [cell.key for cell, _ in trial_cells]
    own = dataclasses.replace(
        own,
        cells=(*own.cells, *(cell for cell, _ in trial_cells)),
        suites=suites,
        data={**own.data, place: data},
        methods={**own.methods, **dict(zip(keys, (m for _, m in trial_cells), strict=True))},
        named=own.named | (frozenset(keys) if first.key in plan.named else frozenset()),
        initial={**own.initial, **_map_initial(plan, cells[:seeds], trials)},
    )
    return Arm(tuple(cells), space, tuple(values), tuple(tuple(c for c, _ in trial) for trial in trials)), own


def _build_trial_cell(plan: Plan, cell: Cell, tried: Values, name: str, data: str) -> tuple[Cell, Method]:
    """The cell with these values, on all rows of the carved split."""
    tuned_cell, tuned_method = apply_values(cell, plan.methods[cell.key], tried, name)
    whole = tuned_cell.protocol.model_copy(update={"train_rows": None, "eval_rows": None})
    return tuned_cell.model_copy(update={"data": data, "protocol": whole}), tuned_method


def _map_initial(plan: Plan, cells: Sequence[Cell], trials: Sequence[Sequence[tuple[Cell, Method]]]) -> dict[str, Any]:
    """What the trials start from: what the cell of their seeds does."""
    return {
        trial_cell.key: plan.initial[cell.key]
        for trial in trials
        for cell, (trial_cell, _) in zip(cells, trial, strict=True)
        if cell.key in plan.initial
    }


def build_arm_key(cell: Cell, *, any_task: bool = False) -> str:
    """The same for cells that differ in seeds only (and in what they start from, and with `any_task` in their task)."""
    fields: dict[str, Any] = {"seeds": {}, "initial": None} | ({"task": "", "data": ""} if any_task else {})
    return cell.model_copy(update=fields).key


def apply_values(cell: Cell, method: Method, values: Values, source: str) -> tuple[Cell, Method]:
    """The cell under the tuned protocol, with these values."""
    method = dataclasses.replace(method, **{name: v for name, v in values.items() if name != "lr"})
    method.check()
    updates = {"name": "tuned", "lr": values["lr"], "lr_source": source}
    protocol = cell.protocol.model_copy(update=updates)
    return cell.model_copy(update={"protocol": protocol, "options": method.options()}), method
