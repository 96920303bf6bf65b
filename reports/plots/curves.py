"""Learning curves, and performance profiles over tasks."""

from __future__ import annotations

import statistics
from typing import Any

from reports.document import Drawing
from reports.frames import Grid
from reports.plots.scores import list_scores
from reports.plots.style import MAX_LINES, add_legend, create_figure, get_colour, get_dashes, join_names
from reports.registered import SuiteContext, report_figure

FEWEST = 3
"""Methods and tasks from which a performance profile says more than the table."""


def draw_losses(grid: Grid) -> Drawing | None:
    """Training loss, mean over seeds; one panel a task. Too many curves show nothing."""
    if len(grid.methods) > MAX_LINES or not any(record.loss_curve for record in grid.records):
        return None
    columns = min(3, len(grid.tasks))
    lines = -(-len(grid.tasks) // columns)
    figure = create_figure(2.4 * columns, 1.7 * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes in panels[len(grid.tasks) :]:
        axes.set_visible(False)
    for axes, task in zip(panels, grid.tasks, strict=False):
        for i, method in enumerate(grid.methods):
            curve = compute_mean_curve(grid, task, method)
            look: Any = {"color": get_colour(i), "linestyle": get_dashes(i), "linewidth": 1.2}
            axes.plot(list(curve), list(curve.values()), label=method, **look)
        axes.set_title(task)
        axes.locator_params(nbins=3)
    for axes in panels[: len(grid.tasks)][-columns:]:
        axes.set_xlabel("step")
    for axes in panels[::columns]:
        axes.set_ylabel("loss")
    add_legend(figure, panels[0])
    alt = f"Training loss of {join_names(grid.methods)} by step, one panel for each of {join_names(grid.tasks, 10)}."
    return Drawing(figure, "Training loss, mean over seeds", alt)


def compute_mean_curve(grid: Grid, task: str, method: str) -> dict[int, float]:
    """Step -> mean loss over seeds."""
    by_step: dict[int, list[float]] = {}
    for record in grid.of(task, method):
        for step, loss in record.loss_curve:
            by_step.setdefault(step, []).append(loss)
    return {step: statistics.fmean(values) for step, values in sorted(by_step.items())}


def compute_gaps_to_best(grid: Grid, method: str) -> list[float]:
    """Points of each run behind the best method's mean on its task, over the tasks that each method has."""
    gaps = []
    for task in grid.tasks:
        scores_by_method = {m: list_scores(grid, task, m) for m in grid.methods}
        if all(scores_by_method.values()):
            best = max(statistics.fmean(values) for values in scores_by_method.values())
            gaps += [best - value for value in scores_by_method[method]]
    return sorted(gaps)


def draw_performance_profiles(grid: Grid) -> Drawing | None:
    """For each gap, the share of a method's runs that are at most so far behind the best method of their task.

    A run without a score is never so near, so the curve of a method with failed cells ends below 1.
    """
    alive = [m for m in grid.methods if any(r.status == "ok" for r in grid.select_method(m))]
    gaps = {method: compute_gaps_to_best(grid, method) for method in alive}
    tasks = [task for task in grid.tasks if all(list_scores(grid, task, m) for m in grid.methods)]
    if not FEWEST <= len(alive) <= MAX_LINES or len(tasks) < FEWEST:
        return None
    figure = create_figure(5.6, 3.6)
    axes = figure.subplots()
    end = max(gap for values in gaps.values() for gap in values)
    for method, values in gaps.items():
        run_count = sum(len(grid.of(task, method)) for task in tasks)
        shares = [(k + 1) / run_count for k in range(len(values))]
        i = grid.methods.index(method)
        look: Any = {"color": get_colour(i), "linestyle": get_dashes(i), "where": "post"}
        axes.step([*values, end], [*shares, shares[-1]], label=method, **look)
    axes.set_xlabel("points behind the best mean of the task, at most")
    axes.set_ylabel("share of runs")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(0, None)
    add_legend(figure, axes)
    scope = f"over {len(tasks)} tasks"
    alt = f"Performance profiles of {join_names(alive)} {scope}: a higher curve is closer to the best."
    return Drawing(figure, f"Performance profiles {scope}; a run without a score is behind all", alt)


# ---------------------------------------------------------------- registration


@report_figure("profiles", place=50, topic="scores")
def _draw_profiles(context: SuiteContext) -> Drawing | None:
    return draw_performance_profiles(context.grid)


@report_figure("loss", place=70, topic="curves", chart="loss")
def _draw_loss(context: SuiteContext) -> Drawing | None:
    return draw_losses(context.grid)
