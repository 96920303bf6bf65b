"""Reasons that forbid a confirmation: collapsed runs, or tasks that no method learned."""

from __future__ import annotations

from collections.abc import Sequence

from reports.frames import build_grids
from reports.statistics.collapse import TaskCollapses, find_collapses, join_refusals
from reports.statistics.examples import find_constant_keys
from studies.answer import StudyRuns


def find_refusal(seen: StudyRuns, methods: Sequence[str] = (), tasks: Sequence[str] = ()) -> str:
    """The reason, or '' where there is none. Without `methods` or `tasks` all of them count."""
    every = list_collapses(seen)
    chosen = [one for one in every if not tasks or one.task in tasks]
    # Two methods that both fail to learn look equal, so a collapse forbids any claim of equality.
    named = methods or [name for one in chosen for name in one.shares]
    return join_refusals(chosen, *dict.fromkeys(named))


def list_collapses(seen: StudyRuns) -> list[TaskCollapses]:
    """The collapsed runs of the study's records by task."""
    # The analysis has counted them already, and reads many predictions to do so.
    if seen.analysis is not None:
        return [one for tasks in seen.analysis.collapses.values() for one in tasks.values()]
    collapses: list[TaskCollapses] = []
    for grid in build_grids(seen.records):
        constant = {task: find_constant_keys(grid.select_task(task), seen.cells) for task in grid.tasks}
        collapses += find_collapses(grid, grid.averages[0], constant).values()
    return collapses
