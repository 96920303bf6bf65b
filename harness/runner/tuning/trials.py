"""Trials of tuning: cells of a method on a task that differ in the searched values.

A trial trains on one part of the train split and is scored on the held-out rest. The eval splits stay unseen.

    Arm     cells of one method on one task: seeds 0 1 2 3
            values         {lr: 1e-3}   {lr: 4e-3}   ...      one point of the search each
            trials         seeds 0 1    seeds 0 1             --tune-seeds 2
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.method import Range, Suite, TaskData
from harness.data.holdout import hold_out, limit_eval_splits
from harness.planning.plan import Plan
from harness.planning.planned_cell import PlannedCell
from harness.runner.tuning.search import Values, build_search_space, get_declared_values, propose


@dataclasses.dataclass(frozen=True)
class Arm:
    """A method on a task: cells that differ in seeds only.

    `trials` has for each of `values` one cell per tuning seed; both are empty for a task without tuning.
    """

    cells: tuple[PlannedCell, ...]
    space: Mapping[str, Range]
    values: tuple[Values, ...]
    trials: tuple[tuple[PlannedCell, ...], ...]

    @property
    def first(self) -> Cell:
        return self.cells[0].cell


def build_arms(plan: Plan, count: int, only: Sequence[str] = (), seeds: int = 1) -> tuple[list[Arm], list[Plan]]:
    """All arms, and plans of their trials, one for each limit on the rows.

    Arms of tasks that are not in `only` have no trials; an empty `only` means all tasks. A trial has `seeds` cells.
    Raises UserError if an arm has fewer cells.
    """
    groups: dict[str, list[PlannedCell]] = {}
    for planned in plan.cells:
        groups.setdefault(build_arm_key(planned.cell), []).append(planned)
    arms: list[Arm] = []
    # by (train_rows, eval_rows): the validation part of each task, and the trials on it
    parts: dict[tuple[int | None, int | None], dict[tuple[str, str], tuple[Suite, TaskData]]] = {}
    trials: dict[tuple[int | None, int | None], list[PlannedCell]] = {}
    for cells in groups.values():
        first, protocol = cells[0].cell, cells[0].cell.protocol
        limits = protocol.train_rows, protocol.eval_rows
        if len(cells) < seeds:
            runs = f"'{first.title}' on {first.task} runs {len(cells)} seeds"
            raise UserError(f"--tune-seeds {seeds}: {runs}; allowed: 1 to {len(cells)}")
        if only and first.task not in only:
            arms.append(Arm(tuple(cells), {}, (), ()))
            continue
        arm = _add_trials(cells, count, seeds, parts.setdefault(limits, {}))
        trials.setdefault(limits, []).extend(itertools.chain.from_iterable(arm.trials))
        arms.append(arm)
    return arms, [dataclasses.replace(plan, cells=tuple(cells), dropped=()) for cells in trials.values()]


def _add_trials(
    cells: Sequence[PlannedCell], count: int, seeds: int, parts: dict[tuple[str, str], tuple[Suite, TaskData]]
) -> Arm:
    """The arm of the cells with its trials; `parts` caches the validation part, which arms of a task share."""
    planned, first = cells[0], cells[0].cell
    space = build_search_space(planned.method, first.protocol.lr)
    values = propose(space, get_declared_values(planned.method, first.protocol.lr, space), count)
    place = first.suite, first.task
    if place not in parts:
        suite = limit_eval_splits(planned.suite, first.task)
        data = hold_out(suite.tasks[first.task], planned.data, first.protocol.train_rows, first.protocol.eval_rows)
        parts[place] = suite, data
    trials = []
    for number, trial_values in enumerate(values, start=1):
        name = f"trial {number} of {count}"
        trials.append(tuple(_build_trial_cell(cell, trial_values, name, *parts[place]) for cell in cells[:seeds]))
    return Arm(tuple(cells), space, tuple(values), tuple(trials))


def _build_trial_cell(planned: PlannedCell, tried: Values, name: str, suite: Suite, data: TaskData) -> PlannedCell:
    """The cell with the values of a trial, on all rows of the validation part."""
    tuned_method = apply_values(planned, tried, name)
    # `hold_out` has applied the limits on rows already
    whole = tuned_method.cell.protocol.model_copy(update={"train_rows": None, "eval_rows": None})
    cell = tuned_method.cell.model_copy(update={"data": data.fingerprint, "protocol": whole})
    return dataclasses.replace(tuned_method, cell=cell, suite=suite, data=data)


def build_arm_key(cell: Cell, *, any_task: bool = False) -> str:
    """A key that is equal for cells that differ only in seeds, initial adapter or, with `any_task`, task."""
    fields: dict[str, Any] = {"seeds": {}, "initial": None} | ({"task": "", "data": ""} if any_task else {})
    return cell.model_copy(update=fields).key


def apply_values(planned: PlannedCell, values: Values, source: str) -> PlannedCell:
    """The cell with a learning rate and options replaced by tuned values; `source` goes into the record."""
    method = dataclasses.replace(planned.method, **{name: v for name, v in values.items() if name != "lr"})
    method.check()  # a value of the search may be refused together with another option
    fields = {"name": "tuned", "lr": values["lr"], "lr_source": source}
    protocol = planned.cell.protocol.model_copy(update=fields)
    cell = planned.cell.model_copy(update={"protocol": protocol, "options": method.options()})
    return dataclasses.replace(planned, cell=cell, method=method)
