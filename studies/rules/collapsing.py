"""Why nothing may be confirmed of a study's methods: collapsed runs, or tasks that no method learned."""

from __future__ import annotations

from collections.abc import Sequence

from reports.frames import grids
from reports.statistics.collapse import TaskCollapses, find_collapses, refusal
from reports.statistics.examples import constant_keys
from studies.answer import Gathered


def refusal_of(seen: Gathered, methods: Sequence[str] = (), tasks: Sequence[str] = ()) -> str:
    """'' where nothing speaks against it. No methods: all of the records; no tasks: all of them."""
    every = collapses_of(seen)
    chosen = [one for one in every if not tasks or one.task in tasks]
    named = methods or [name for one in chosen for name in one.shares]
    return refusal(chosen, *dict.fromkeys(named))


def collapses_of(seen: Gathered) -> list[TaskCollapses]:
    """Of the study's records; from the analysis where it has been made."""
    if seen.analysis is not None:
        return [one for tasks in seen.analysis.collapses.values() for one in tasks.values()]
    found: list[TaskCollapses] = []
    for grid in grids(seen.records):
        constant = {task: constant_keys(grid.of_task(task), seen.cells) for task in grid.tasks}
        found += find_collapses(grid, grid.averages[0], constant).values()
    return found
