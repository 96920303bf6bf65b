"""The numbers behind the page's charts: one JSON object per suite, read by templates/charts.js.

    methods, tasks, presets   names; every other entry refers to them by index, -1 for the mean over tasks
    total                     runs of the suite
    runs                      [task, method, preset, seeds, score or null, key, status, collapsed (0 or 1)]
    means                     [task, method, mean, low, high]
    ranking                   one object per method, in the order of the table
    differences               [task, method, first, value, low, high, verdict]
    curves                    [task, method, steps, losses], mean over seeds
    memory                    [method, bytes by category...]
    budgets                   [place, method, scores by number of trials]

Scores are written in full, so that rounding them gives the digits of the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.profile import Profile
from harness.core.tuned import Tuned
from reports.compare import estimate_task
from reports.frames import Grid, format_seeds, get_score
from reports.plots.curves import compute_mean_curve
from reports.solo import find_profile
from reports.statistics.analysis import Analysis
from reports.statistics.ranking import Ranking, RankingRow
from reports.statistics.student import Estimate, Student
from reports.statistics.verdicts import WORDS
from reports.tuning import compute_budget_curve

MAX_RUNS = 2500
"""Runs of a suite that the page holds at most, so that its size is bounded."""
MAX_CURVE_POINTS = 60
"""Points of one training curve; a chart of some hundred pixels shows no more."""
MEMORY_CATEGORIES = ("weights", "gradients", "optimizer")


def build_chart_data(
    grid: Grid,
    profiles: Sequence[Profile],
    tuned: Sequence[Tuned],
    analysis: Analysis | None,
    ranking: Ranking | None,
) -> dict[str, Any]:
    """The object of one suite, ready for JSON."""
    presets = list(dict.fromkeys(r.cell.preset for r in grid.records))
    return {
        "methods": list(grid.methods),
        "tasks": list(grid.tasks),
        "presets": presets,
        # a report of cells that do not compare has no ranking
        "average": ranking.average if ranking and ranking.average else "mean",
        "baseline": grid.methods.index(ranking.baseline) if ranking and ranking.baseline in grid.methods else 0,
        "majority": [_find_majority(grid, task) for task in grid.tasks],
        "ranking": [_build_row(row, grid) for row in ranking.rows if row.method in grid.methods] if ranking else [],
        "total": len(grid.records),
        "runs": _list_runs(grid, presets, analysis),
        "means": _list_means(grid),
        "differences": _list_differences(grid, analysis),
        "curves": _list_curves(grid),
        "memory": _list_memory(grid, profiles),
        "budgets": [
            [", ".join(one.tasks), _match_method(one.method, grid), compute_budget_curve(one)]
            for one in tuned
            if one.suite == grid.suite and one.best is not None
        ],
    }


def _match_method(name: str, grid: Grid) -> str:
    """The method of the grid; tuning names the precision too ('lora [bf16]') where the whole run has one."""
    return name if name in grid.methods else name.partition(" [")[0]


def _build_row(row: RankingRow, grid: Grid) -> dict[str, Any]:
    speed = row.samples_per_second
    return {
        "method": grid.methods.index(row.method),
        "mean": _get_bounds(row.mean),
        "difference": None if row.difference is None else _get_ends(row.difference),
        "verdict": None if row.verdict is None else WORDS.get(row.verdict, row.verdict),
        "parameters": row.trainable_parameters,
        "peak": row.peak_bytes,
        "speed": None if speed is None else [speed.median, speed.low, speed.high],
        "collapsed": [row.collapsed, row.runs],
        "tied": row.is_tied,
    }


def _get_bounds(estimate: Estimate | None) -> list[float | None] | None:
    return None if estimate is None else [estimate.mean, estimate.low, estimate.high]


def _get_ends(estimate: Student) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]


def _find_majority(grid: Grid, task: str) -> float | None:
    return next((r.majority for r in grid.select_task(task) if r.majority is not None), None)


def _list_runs(grid: Grid, presets: Sequence[str], analysis: Analysis | None) -> list[list[Any]]:
    """The runs of the suite; of more than `MAX_RUNS` the first of each task and method."""
    # an equal share for each task and method, so that every filter finds runs
    most = max(1, MAX_RUNS // max(1, len(grid.cells))) if len(grid.records) > MAX_RUNS else MAX_RUNS
    collapses = analysis.collapses.get(grid.suite, {}) if analysis else {}
    # charts mark collapsed runs, since the mean alone hides them
    collapsed_keys = {key for task in collapses.values() for key in task.reasons}
    return [
        [
            grid.tasks.index(task),
            grid.methods.index(method),
            presets.index(record.cell.preset),
            format_seeds(record.cell.seeds),
            get_score(record, grid.averages[0]),
            record.key,
            record.status,
            int(record.key in collapsed_keys),
        ]
        for (task, method), group in grid.cells.items()
        for record in group[:most]
    ]


def _list_means(grid: Grid) -> list[list[Any]]:
    rows = []
    for t, task in enumerate(grid.tasks):
        for m, method in enumerate(grid.methods):
            bounds = _get_bounds(estimate_task(grid, task, method, grid.averages[0]))
            if bounds:
                rows.append([t, m, *bounds])
    return rows


def _list_differences(grid: Grid, analysis: Analysis | None) -> list[list[Any]]:
    rows, methods = [], frozenset(grid.methods)
    for judged in analysis.judged if analysis else ():
        c = judged.comparison
        if c.suite != grid.suite or c.difference is None or not methods.issuperset((c.method, c.first)):
            continue
        place = -1 if c.whole else grid.tasks.index(c.place)
        ends = _get_ends(c.estimate) if c.estimate else [c.difference, None, None]
        word = WORDS.get(judged.verdict.kind, judged.verdict.kind)
        rows.append([place, grid.methods.index(c.method), grid.methods.index(c.first), *ends, word])
    return rows


def _list_curves(grid: Grid) -> list[list[Any]]:
    rows = []
    for t, task in enumerate(grid.tasks):
        for m, method in enumerate(grid.methods):
            points = _thin(list(compute_mean_curve(grid, task, method).items()))
            if points:
                # four digits are finer than a pixel and keep the page small
                rows.append([t, m, [step for step, _ in points], [float(f"{loss:.4g}") for _, loss in points]])
    return rows


def _thin(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """At most `MAX_CURVE_POINTS` of the points, the last one among them."""
    stride = -(-len(points) // MAX_CURVE_POINTS)
    return points if stride <= 1 else [*points[:-1:stride], points[-1]]


def _list_memory(grid: Grid, profiles: Sequence[Profile]) -> list[list[Any]]:
    rows = []
    for m, method in enumerate(grid.methods):
        profile = find_profile(grid.select_method(method)[0], profiles, finished=True)
        if profile and profile.peak_bytes:
            sizes: Mapping[str, int] = profile.train_state.model_dump() if profile.train_state else {}
            parts = [sizes.get(name) or 0 for name in MEMORY_CATEGORIES]
            rows.append([m, *parts, max(0, profile.peak_bytes - sum(parts))])
    return rows
