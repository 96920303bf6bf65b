"""Trials of tuning: cells of a method on a task that differ in what is searched, on a carved train split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from harness.cell import Cell
from harness.contracts import Method, Range
from harness.plan import Plan
from harness.search import Values, propose, space_of, start_of
from harness.validation import carve, scored_once


@dataclasses.dataclass(frozen=True)
class Arm:
    """A method on a task: its cells differ in seeds only. `trials` are cells of the first one's seeds."""

    cells: tuple[Cell, ...]
    space: Mapping[str, Range]
    values: tuple[Values, ...]
    trials: tuple[Cell, ...]

    @property
    def first(self) -> Cell:
        return self.cells[0]


def arms_of(plan: Plan, count: int, only: Sequence[str] = ()) -> tuple[list[Arm], list[Plan]]:
    """Arms, those of tasks outside of `only` without trials; and plans of all trials, one for each size of the rows."""
    groups: dict[str, list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault(alike(cell), []).append(cell)
    arms: list[Arm] = []
    plans: dict[tuple[int | None, int | None], Plan] = {}
    for cells in groups.values():
        first, protocol = cells[0], cells[0].protocol
        rows = protocol.train_rows, protocol.eval_rows
        if only and first.task not in only:
            arms.append(Arm(tuple(cells), {}, (), ()))
            continue
        own = plans.get(rows) or dataclasses.replace(plan, cells=(), data={}, methods={}, dropped=(), named=frozenset())
        arm, plans[rows] = _with_trials(plan, own, cells, count)
        arms.append(arm)
    return arms, list(plans.values())


def _with_trials(plan: Plan, own: Plan, cells: Sequence[Cell], count: int) -> tuple[Arm, Plan]:
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
    made = []
    for number, tried in enumerate(values):
        cell, changed = with_values(first, method, tried, f"trial {number + 1} of {count}")
        whole = cell.protocol.model_copy(update={"train_rows": None, "eval_rows": None})
        made.append((cell.model_copy(update={"data": data.fingerprint, "protocol": whole}), changed))
    keys = [cell.key for cell, _ in made]
    own = dataclasses.replace(
        own,
        cells=(*own.cells, *(cell for cell, _ in made)),
        suites=suites,
        data={**own.data, place: data},
        methods={**own.methods, **dict(zip(keys, (m for _, m in made), strict=True))},
        named=own.named | (frozenset(keys) if first.key in plan.named else frozenset()),
        initial={**own.initial, **{key: plan.initial[first.key] for key in keys if first.key in plan.initial}},
    )
    return Arm(tuple(cells), space, tuple(values), tuple(cell for cell, _ in made)), own


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
