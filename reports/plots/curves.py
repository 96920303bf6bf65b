"""Learning curves, and performance profiles over tasks."""

from __future__ import annotations

import functools
import operator
import statistics
from collections.abc import Mapping

from reports.document import Drawing
from reports.frames import Grid, cache_in_grid
from reports.plots.panels import MAX_PANELS, Curve, create_panels, draw_curve_rows
from reports.plots.scores import describe_omitted, list_scores
from reports.plots.style import join_names
from reports.registered import SuiteContext, report_figure

FEWEST = 3
"""Methods and tasks from which a performance profile says more than the table."""
CURVE_ROW = 0.3
"""Inches of a row with a curve at least."""


@report_figure("loss", place=70, topic="curves", chart="loss")
def draw_losses(context: SuiteContext) -> Drawing | None:
    """Training loss, mean over seeds: one panel a task, one row a method."""
    grid = context.grid
    tasks = [t for t in grid.tasks if any(map(operator.attrgetter("loss_curve"), grid.select_task(t)))]
    if not tasks:
        return None
    shown = tasks[:MAX_PANELS]
    by_task = {task: [list(compute_mean_curve(grid, task, m).items()) for m in grid.methods] for task in shown}
    losses = {task: [loss for curve in curves for _, loss in curve] for task, curves in by_task.items()}
    titles = [f"{task}\n{min(losses[task]):.2g} to {max(losses[task]):.2g}" for task in shown]
    panels = create_panels(context.figure_width, grid.methods, titles, CURVE_ROW)
    for axes, task in zip(panels.axes, shown, strict=True):
        draw_curve_rows(panels, axes, by_task[task], min(losses[task]), max(losses[task]))
    panels.label("step")
    caption = "Training loss, mean over seeds: each row spans the losses that its title names" + _describe_grey(grid)
    alt = f"Training loss of {join_names(grid.methods)} by step, one panel for each of {join_names(shown, 10)}."
    return Drawing(panels.figure, caption + describe_omitted(tasks), alt)


def _describe_grey(grid: Grid) -> str:
    return f"; grey: {grid.methods[0]}" if len(grid.methods) > 1 else ""


@cache_in_grid
def compute_mean_curve(grid: Grid, task: str, method: str) -> Mapping[int, float]:
    """Step -> mean loss over seeds."""
    by_step: dict[int, list[float]] = {}
    for record in grid.of(task, method):
        for step, loss in record.loss_curve:
            if loss == loss and abs(loss) != float("inf"):
                by_step.setdefault(step, []).append(loss)
    return {step: statistics.fmean(values) for step, values in sorted(by_step.items())}


def compute_gaps_to_best(grid: Grid, method: str) -> list[float]:
    """Points of each run behind the best method's mean on its task, over the tasks that each method has."""
    gaps = []
    for task, best in _find_best_means(grid, grid.methods).items():
        gaps += [best - value for value in list_scores(grid, task, method)]
    return sorted(gaps)


@cache_in_grid
def _find_best_means(grid: Grid, methods: tuple[str, ...]) -> Mapping[str, float]:
    """The highest mean of a method on each task that all `methods` have a score for."""
    best = {}
    for task in grid.tasks:
        scores = [list_scores(grid, task, method) for method in methods]
        if all(scores):
            best[task] = max(map(statistics.fmean, scores))
    return best


def list_common_tasks(grid: Grid) -> list[str]:
    """The tasks on which each method has a score."""
    return [task for task in grid.tasks if all(map(functools.partial(list_scores, grid, task), grid.methods))]


def compute_profile(grid: Grid, method: str, end: float) -> Curve:
    """The corners of a method's performance profile, up to a gap of `end` points.

    A run without a score is never so near, so the curve of a method with failed cells ends below 1.
    """
    tasks = list_common_tasks(grid)
    run_count = sum(len(grid.of(task, method)) for task in tasks)
    gaps = compute_gaps_to_best(grid, method)
    corners = [(min(0.0, *gaps, 0.0), 0.0)]
    for count, gap in enumerate(gaps):
        corners += [(gap, count / run_count), (gap, (count + 1) / run_count)]
    return [*corners, (end, len(gaps) / run_count)]


@report_figure("profiles", place=50, topic="scores")
def draw_performance_profiles(context: SuiteContext) -> Drawing | None:
    """For each gap, the share of a method's runs that are at most so far behind the best method of their task."""
    grid = context.grid
    alive = [m for m in grid.methods if "ok" in map(operator.attrgetter("status"), grid.select_method(m))]
    gaps = {method: compute_gaps_to_best(grid, method) for method in alive}
    tasks = list_common_tasks(grid)
    if len(alive) < FEWEST or len(tasks) < FEWEST:
        return None
    end = max(gap for values in gaps.values() for gap in values)
    panels = create_panels(context.figure_width, alive, [""], CURVE_ROW)
    (axes,) = panels.axes
    draw_curve_rows(panels, axes, [compute_profile(grid, method, end) for method in alive], 0.0, 1.0)
    panels.label("points behind the best mean of the task, at most")
    scope = f"over {len(tasks)} tasks"
    alt = f"Performance profiles of {join_names(alive)} {scope}: a higher curve is closer to the best."
    caption = f"Performance profiles {scope}: the share of runs, from 0 to 1 in each row{_describe_grey(grid)}"
    return Drawing(panels.figure, caption, alt)
