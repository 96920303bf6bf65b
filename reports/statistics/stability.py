"""Stability as an outcome: how often runs collapse, method against method, and what that does to the means."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from reports.compare import estimate_task
from reports.frames import Grid, get_score, get_seeds
from reports.statistics.collapse import TaskCollapses
from reports.statistics.shared_seeds import estimate_interval
from reports.statistics.student import Estimate, merge_estimates


def estimate_without_collapsed(
    grid: Grid,
    method: str,
    tasks: Sequence[str],
    average: str,
    collapses: Mapping[str, TaskCollapses],
    mean: Estimate | None,
) -> Estimate | None:
    """The mean over tasks of the runs that did not collapse; `mean`, that of all runs, where none did.

    None where all runs of a task collapsed. The tasks are independent here, as each may lack other seeds.
    """
    if not any(_count_collapsed(collapses, task, method) for task in tasks):
        return mean
    parts = [estimate_task_without_collapsed(grid, task, method, average, collapses) for task in tasks]
    present = [part for part in parts if part is not None]
    if len(present) < len(parts) or not present:
        return None
    value = statistics.fmean(part.mean for part in present)
    intervals = [part.interval for part in present if part.interval is not None]
    merged = merge_estimates(intervals) if len(intervals) == len(present) else None
    return Estimate(value, min(part.n for part in present), merged)


def estimate_task_without_collapsed(
    grid: Grid, task: str, method: str, average: str, collapses: Mapping[str, TaskCollapses]
) -> Estimate | None:
    """The mean of the task's runs that did not collapse; None where no run is left."""
    if not _count_collapsed(collapses, task, method):
        return estimate_task(grid, task, method, average)
    reasons = collapses[task].reasons
    scores = {get_seeds(r): get_score(r, average) for r in grid.of(task, method) if r.key not in reasons}
    return estimate_interval({seeds: score for seeds, score in scores.items() if score is not None})


def _count_collapsed(collapses: Mapping[str, TaskCollapses], task: str, method: str) -> int:
    one = collapses.get(task)
    return one.shares[method].collapsed if one and method in one.shares else 0
