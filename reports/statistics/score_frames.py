"""Frames of the scores themselves: by task, over tasks, and by seed stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.compare import collect_averages, collect_scores, find_common_seeds, find_coverage
from reports.frames import Grid, Seeds, get_seeds
from reports.statistics.aggregates import (
    Aggregate,
    compute_iqm,
    compute_iqm_difference,
    estimate_improvement,
)
from reports.statistics.bootstrap import create_generator
from reports.statistics.clusters import estimate_clustered_mean
from reports.statistics.curves import compute_profiles
from reports.statistics.evidence import Evidence
from reports.statistics.shared_seeds import estimate_over_seeds, is_crossed
from reports.statistics.variance import Component, estimate_components

if TYPE_CHECKING:
    import pandas as pd

SCORE_COLUMNS = (
    *("suite", "average", "task", "method", "n", "asked", "score", "low", "high"),
    *("example_se", "examples", "clusters"),
)
AGGREGATE_COLUMNS = ("suite", "method", "tasks", "runs", "asked", "measure", "value", "low", "high")
IQM, IQM_GAP, IMPROVEMENT = (
    "interquartile mean",
    "difference to the baseline",
    "probability of improvement over the baseline",
)
COMPONENT_COLUMNS = ("suite", "task", "method", "stream", "levels", "sd", "share", "p")


def build_score_rows(grid: Grid, found: Mapping[str, Evidence | str]) -> list[dict[str, Any]]:
    """One row per task and method, then one per named average and method (task: the average's label)."""
    first = grid.averages[0]
    rows = []
    for task in grid.tasks:
        for method in grid.methods:
            row = _build_row(
                grid, first, task, method, collect_scores(grid, task, method, first), len(grid.of(task, method))
            )
            rows.append(row | _estimate_example_error(grid, task, method, found[task]))
    for average in grid.averages:
        cover = find_coverage(grid, average)
        for method in grid.methods:
            means = collect_averages(grid, method, cover)
            cell_count = max((len(grid.of(task, method)) for task in cover.tasks), default=0)
            rows.append(_build_row(grid, average, cover.label, method, means, cell_count))
    return rows


def _build_row(
    grid: Grid, average: str, task: str, method: str, by: Mapping[Seeds, float], asked: int
) -> dict[str, Any]:
    estimate = estimate_over_seeds(by)
    values = list(by.values())
    start = {"suite": grid.suite, "average": average, "task": task, "method": method, "n": len(values), "asked": asked}
    mean = sum(values) / len(values) if values else None
    return start | {
        "score": mean,
        "low": estimate.low if estimate else None,
        "high": estimate.high if estimate else None,
    }


def _estimate_example_error(grid: Grid, task: str, method: str, found: Evidence | str) -> dict[str, Any]:
    """Clustered standard error of accuracy in points, each example's share of right answers taken over seeds."""
    # the error is that of a mean over examples, which of all metrics only accuracy is
    if isinstance(found, str) or [m for s in found.examples.splits for m in s.metrics] != ["accuracy"]:
        return {}
    split = found.examples.splits[0]
    records = grid.of(task, method)
    # of some seeds only: the share of right answers would be another than that of the method's score
    if any(r.status == "ok" and r.predictions is None for r in records):
        return {}
    rows = [row for r in records if (row := found.examples.rows.get(r.key)) is not None]
    if not rows:
        return {}
    right = 100.0 * (split.predictions[rows] == split.targets).mean(axis=0)
    mean = estimate_clustered_mean(right, split.clusters)
    return {"example_se": mean.se if mean else None, "examples": len(right), "clusters": split.groups}


def build_aggregate_rows(grid: Grid, baseline: str) -> list[dict[str, Any]]:
    """Interquartile mean of each method, its difference to the baseline and probability of improvement over it.

    Over the tasks that every method has; differences over the seeds that both have. `runs` have a score, of `asked`. No
    interval where runs share seeds, as these are for independent runs.
    """
    cover = find_coverage(grid, grid.averages[0])
    if not cover.tasks:
        return []
    baseline_runs = [collect_scores(grid, task, baseline, cover.average) for task in cover.tasks]
    rows = []
    for method in grid.methods:
        runs = [collect_scores(grid, task, method, cover.average) for task in cover.tasks]
        # a mean over fewer tasks than the other methods have would be of other tasks
        if not all(runs):
            continue
        scores = [list(of_task.values()) for of_task in runs]
        rows.append(_build_aggregate_row(grid, method, cover.tasks, scores, IQM, compute_iqm(scores)))
        # x, y: scores by task of the method and of the baseline, seed by seed
        x, y = [], []
        for of_task, of_baseline in zip(runs, baseline_runs, strict=True):
            shared = find_common_seeds([of_task, of_baseline])
            x.append([of_task[seeds] for seeds in shared])
            y.append([of_baseline[seeds] for seeds in shared])
        if method == baseline or not all(x):
            continue
        rows.append(_build_aggregate_row(grid, method, cover.tasks, x, IQM_GAP, compute_iqm_difference(x, y)))
        better = estimate_improvement(x, y)
        rows.append(_build_aggregate_row(grid, method, cover.tasks, x, IMPROVEMENT, better, unit=True))
    return rows


def _build_aggregate_row(
    grid: Grid,
    method: str,
    tasks: Sequence[str],
    scores: Sequence[Sequence[float]],
    measure: str,
    found: Aggregate,
    unit: bool = False,
) -> dict[str, Any]:
    low, high = (found.interval.low, found.interval.high) if found.interval else (None, None)
    # a probability lies between 0 and 1, its t-interval need not
    if unit and low is not None and high is not None:
        low, high = max(0.0, low), min(1.0, high)
    cells = [grid.of(task, method) for task in tasks]
    # the closed forms are for independent runs
    if any(is_crossed(map(get_seeds, records)) for records in cells):
        low = high = None
    start = {"suite": grid.suite, "method": method, "tasks": len(scores), "runs": sum(map(len, scores))}
    start |= {"asked": sum(map(len, cells))}
    return start | {"measure": measure, "value": found.value, "low": low, "high": high}


def build_profile_frame(grid: Grid, seed: int) -> pd.DataFrame:
    """Performance profiles of all methods with runs on every covered task, with a column `suite`."""
    cover = find_coverage(grid, grid.averages[0])
    whole: dict[str, list[list[float]]] = {}
    for method in grid.methods:
        scores = [list(collect_scores(grid, task, method, cover.average).values()) for task in cover.tasks]
        if scores and all(scores):
            whole[method] = scores
    frame = compute_profiles(whole, create_generator(seed, "profiles", grid.suite))
    frame.insert(0, "suite", grid.suite)
    return frame


def collect_components(grid: Grid) -> dict[tuple[str, str], tuple[Component, ...]]:
    """(task, method) -> variance components, where seeds were named streams."""
    by_place = {}
    for task in grid.tasks:
        for method in grid.methods:
            scores = collect_scores(grid, task, method, grid.averages[0])
            seeds = [dict(get_seeds(r)) for r in grid.of(task, method) if get_seeds(r) in scores]
            by_place[task, method] = estimate_components([scores[tuple(sorted(s.items()))] for s in seeds], seeds)
    return {place: place_components for place, place_components in by_place.items() if place_components}


def build_component_rows(grid: Grid, parts: Mapping[tuple[str, str], Sequence[Component]]) -> list[dict[str, Any]]:
    return [
        {"suite": grid.suite, "task": task, "method": method, "stream": c.stream, "levels": c.levels}
        | {"sd": c.variance**0.5, "share": c.share, "p": c.p}
        for (task, method), place_components in parts.items()
        for c in place_components
    ]
