"""Why nothing may be confirmed of a study's methods: collapsed runs, or tasks that no method learned."""

from __future__ import annotations

from collections.abc import Sequence

from reports.frames import build_grids
from reports.statistics.collapse import TaskCollapses, find_collapses, join_refusals
from reports.statistics.examples import find_constant_keys
from studies.answer import StudyRuns


def find_refusal(seen: StudyRuns, methods: Sequence[str] = (), tasks: Sequence[str] = ()) -> str:
    """'' where nothing speaks against it. No methods: all of the records; no tasks: all of them."""
    every = list_collapses(seen)
    chosen = [one for one in every if not tasks or one.task in tasks]
    named = methods or [name for one in chosen for name in one.shares]
    return join_refusals(chosen, *dict.fromkeys(named))


def list_collapses(seen: StudyRuns) -> list[TaskCollapses]:
    """Of the study's records; from the analysis where it has been made."""
    if seen.analysis is not None:
        return [one for tasks in seen.analysis.collapses.values() for one in tasks.values()]
    collapses: list[TaskCollapses] = []
    for grid in build_grids(seen.records):
        constant = {task: find_constant_keys(grid.select_task(task), seen.cells) for task in grid.tasks}
        collapses += find_collapses(grid, grid.averages[0], constant).values()
    return collapses
