"""Frames of the scores themselves: by task, over tasks, and by seed stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.compare import average_by_seed, by_seed, coverage
from reports.frames import Grid, Seeds, seeds_of
from reports.statistics.aggregates import (
    Aggregate,
    difference_of_iqm,
    interquartile_mean,
    probability_of_improvement,
)
from reports.statistics.bootstrap import generator
from reports.statistics.clusters import clustered_mean
from reports.statistics.curves import performance_profiles
from reports.statistics.evidence import Evidence
from reports.statistics.shared_seeds import is_crossed, over_seeds
from reports.statistics.variance import Component, components

if TYPE_CHECKING:
    import pandas as pd

SCORE_COLUMNS = (
    *("suite", "average", "task", "method", "n", "asked", "score", "low", "high"),
    *("example_se", "examples", "clusters"),
)
AGGREGATE_COLUMNS = ("suite", "method", "tasks", "runs", "asked", "measure", "value", "low", "high")
IQM, IQM_GAP, IMPROVEMENT = (
    "interquartile mean",
    "its difference to the first",
    "probability of a run above one of the first",
)
COMPONENT_COLUMNS = ("suite", "task", "method", "stream", "levels", "sd", "share", "p")


def score_rows(grid: Grid, found: Mapping[str, Evidence | str]) -> list[dict[str, Any]]:
    """One row per task and method, then one per named average and method (task: the average's label)."""
    first = grid.averages[0]
    made = []
    for task in grid.tasks:
        for method in grid.methods:
            row = _row(grid, first, task, method, by_seed(grid, task, method, first), len(grid.of(task, method)))
            made.append(row | _of_examples(grid, task, method, found[task]))
    for average in grid.averages:
        cover = coverage(grid, average)
        for method in grid.methods:
            means = average_by_seed(grid, method, cover)
            asked = max((len(grid.of(task, method)) for task in cover.tasks), default=0)
            made.append(_row(grid, average, cover.label, method, means, asked))
    return made


def _row(grid: Grid, average: str, task: str, method: str, by: Mapping[Seeds, float], asked: int) -> dict[str, Any]:
    found = over_seeds(by)
    values = list(by.values())
    start = {"suite": grid.suite, "average": average, "task": task, "method": method, "n": len(values), "asked": asked}
    mean = sum(values) / len(values) if values else None
    return start | {"score": mean, "low": found.low if found else None, "high": found.high if found else None}


def _of_examples(grid: Grid, task: str, method: str, found: Evidence | str) -> dict[str, Any]:
    """Clustered standard error of accuracy in points, each example's share of right answers taken over seeds."""
    if isinstance(found, str) or [m for s in found.examples.splits for m in s.metrics] != ["accuracy"]:
        return {}
    split = found.examples.splits[0]
    rows = [row for r in grid.of(task, method) if (row := found.examples.rows.get(r.key)) is not None]
    if not rows:
        return {}
    right = 100.0 * (split.predictions[rows] == split.targets).mean(axis=0)
    mean = clustered_mean(right, split.clusters)
    return {"example_se": mean.se if mean else None, "examples": len(right), "clusters": split.groups}


def aggregate_rows(grid: Grid) -> list[dict[str, Any]]:
    """Interquartile mean of each method; of all but the first also its difference and probability of improvement.

    Over the tasks that every method has; differences over the seeds that both have. `runs` have a score, of `asked`. No
    interval where runs share seeds, as these are for independent runs.
    """
    cover = coverage(grid, grid.averages[0])
    if not cover.tasks:
        return []
    runs = {m: {t: by_seed(grid, t, m, cover.average) for t in cover.tasks} for m in grid.methods}
    first = grid.methods[0]
    made = []
    for method in (m for m in grid.methods if all(runs[m].values())):
        scores = [list(runs[method][t].values()) for t in cover.tasks]
        made.append(_aggregate(grid, method, cover.tasks, scores, IQM, interquartile_mean(scores)))
        shared = [[s for s in runs[method][t] if s in runs[first][t]] for t in cover.tasks]
        if method == first or not all(shared):
            continue
        x, y = (
            [[runs[m][t][s] for s in of] for t, of in zip(cover.tasks, shared, strict=True)] for m in (method, first)
        )
        made.append(_aggregate(grid, method, cover.tasks, x, IQM_GAP, difference_of_iqm(x, y)))
        better = probability_of_improvement(x, y)
        made.append(_aggregate(grid, method, cover.tasks, x, IMPROVEMENT, better, unit=True))
    return made


def _aggregate(
    grid: Grid,
    method: str,
    tasks: Sequence[str],
    scores: Sequence[Sequence[float]],
    measure: str,
    found: Aggregate,
    unit: bool = False,
) -> dict[str, Any]:
    low, high = (found.interval.low, found.interval.high) if found.interval else (None, None)
    if unit and low is not None and high is not None:
        low, high = max(0.0, low), min(1.0, high)
    cells = [grid.of(task, method) for task in tasks]
    if any(is_crossed(map(seeds_of, own)) for own in cells):
        low = high = None
    start = {"suite": grid.suite, "method": method, "tasks": len(scores), "runs": sum(map(len, scores))}
    start |= {"asked": sum(map(len, cells))}
    return start | {"measure": measure, "value": found.value, "low": low, "high": high}


def profile_frame(grid: Grid, seed: int) -> pd.DataFrame:
    """Performance profiles of all methods with runs on every covered task, with a column `suite`."""
    cover = coverage(grid, grid.averages[0])
    runs = {m: [list(by_seed(grid, t, m, cover.average).values()) for t in cover.tasks] for m in grid.methods}
    whole = {method: scores for method, scores in runs.items() if scores and all(scores)}
    frame = performance_profiles(whole, generator(seed, "profiles", grid.suite))
    frame.insert(0, "suite", grid.suite)
    return frame


def component_parts(grid: Grid) -> dict[tuple[str, str], tuple[Component, ...]]:
    """(task, method) -> variance components, where seeds were named streams."""
    made = {}
    for task in grid.tasks:
        for method in grid.methods:
            scores = by_seed(grid, task, method, grid.averages[0])
            seeds = [dict(seeds_of(r)) for r in grid.of(task, method) if seeds_of(r) in scores]
            made[task, method] = components([scores[tuple(sorted(s.items()))] for s in seeds], seeds)
    return {place: found for place, found in made.items() if found}


def component_rows(grid: Grid, parts: Mapping[tuple[str, str], Sequence[Component]]) -> list[dict[str, Any]]:
    return [
        {"suite": grid.suite, "task": task, "method": method, "stream": c.stream, "levels": c.levels}
        | {"sd": c.variance**0.5, "share": c.share, "p": c.p}
        for (task, method), found in parts.items()
        for c in found
    ]
