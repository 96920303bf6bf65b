"""Trials of tuning: cells of a method on a task that differ in what is searched, on a carved train split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.method import Method, Range
from harness.data.holdout import carve, scored_once
from harness.planning.plan import Plan
from harness.runner.tuning.search import Values, propose, space_of, start_of


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


def arms_of(plan: Plan, count: int, only: Sequence[str] = (), seeds: int = 1) -> tuple[list[Arm], list[Plan]]:
    """Arms, those of tasks outside of `only` without trials; and plans of all trials, one for each size of the rows.

    A trial is as many cells as `seeds` says. Raises UserError where the arms have fewer.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault(alike(cell), []).append(cell)
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
        own = plans.get(rows) or dataclasses.replace(plan, cells=(), data={}, methods={}, dropped=(), named=frozenset())
        arm, plans[rows] = _with_trials(plan, own, cells, count, seeds)
        arms.append(arm)
    return arms, list(plans.values())


def _with_trials(plan: Plan, own: Plan, cells: Sequence[Cell], count: int, seeds: int) -> tuple[Arm, Plan]:
    """The arm of the cells, and `own` with its trials."""
    first, method = cells[0], plan.methods[cells[0].key]
    space = space_of(method, first.protocol.lr)
    values = propose(space, start_of(method, first.protocol.lr, space), count)
    place = first.suite, first.task
    suites = dict(own.suites)
    if place not in own.data:
        suites[first.suite] = scored_once(suites[first.suite], first.task)
    task = suites[first.suite].tasks[first.task]
    data = own.data.get(place) or carve(task, plan.data[place], first.protocol.train_rows, first.protocol.eval_rows)
    trials = [
        [_trial(plan, cell, tried, f"trial {number} of {count}", data.fingerprint) for cell in cells[:seeds]]
        for number, tried in enumerate(values, start=1)
    ]
    made = [pair for trial in trials for pair in trial]
    keys = [cell.key for cell, _ in made]
    own = dataclasses.replace(
        own,
        cells=(*own.cells, *(cell for cell, _ in made)),
        suites=suites,
        data={**own.data, place: data},
        methods={**own.methods, **dict(zip(keys, (m for _, m in made), strict=True))},
        named=own.named | (frozenset(keys) if first.key in plan.named else frozenset()),
        initial={**own.initial, **_initial(plan, cells[:seeds], trials)},
    )
    return Arm(tuple(cells), space, tuple(values), tuple(tuple(c for c, _ in trial) for trial in trials)), own


def _trial(plan: Plan, cell: Cell, tried: Values, name: str, data: str) -> tuple[Cell, Method]:
    """The cell with these values, on all rows of the carved split."""
    made, changed = with_values(cell, plan.methods[cell.key], tried, name)
    whole = made.protocol.model_copy(update={"train_rows": None, "eval_rows": None})
    return made.model_copy(update={"data": data, "protocol": whole}), changed


def _initial(plan: Plan, cells: Sequence[Cell], trials: Sequence[Sequence[tuple[Cell, Method]]]) -> dict[str, Any]:
    """What the trials start from: what the cell of their seeds does."""
    return {
        made.key: plan.initial[cell.key]
        for trial in trials
        for cell, (made, _) in zip(cells, trial, strict=True)
        if cell.key in plan.initial
    }


def alike(cell: Cell, *, any_task: bool = False) -> str:
    """The same for cells that differ in seeds only (and in what they start from, and with `any_task` in their task)."""
    fields: dict[str, Any] = {"seeds": {}, "initial": None} | ({"task": "", "data": ""} if any_task else {})
    return cell.model_copy(update=fields).key


def with_values(cell: Cell, method: Method, values: Values, source: str) -> tuple[Cell, Method]:
    """The cell under the tuned protocol, with these values."""
    method = dataclasses.replace(method, **{name: v for name, v in values.items() if name != "lr"})
    method.check()
    told = {"name": "tuned", "lr": values["lr"], "lr_source": source}
    protocol = cell.protocol.model_copy(update=told)
    return cell.model_copy(update={"protocol": protocol, "options": method.options()}), method
