"""Learning curves, and performance profiles over tasks."""

from __future__ import annotations

import statistics
from typing import Any

from reports.document import Drawing
from reports.frames import Grid
from reports.plots.scores import scored
from reports.plots.style import MOST_LINES, colour, dashes, legend, listed, new_figure

FEWEST = 3
"""Methods and tasks from which a performance profile says more than the table."""


def losses(grid: Grid) -> Drawing | None:
    """Training loss, mean over seeds; one panel a task. Too many curves show nothing."""
    if len(grid.methods) > MOST_LINES or not any(record.loss_curve for record in grid.records):
        return None
    columns = min(3, len(grid.tasks))
    lines = -(-len(grid.tasks) // columns)
    figure = new_figure(2.4 * columns, 1.7 * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes in panels[len(grid.tasks) :]:
        axes.set_visible(False)
    for axes, task in zip(panels, grid.tasks, strict=False):
        for i, method in enumerate(grid.methods):
            curve = mean_curve(grid, task, method)
            look: Any = {"color": colour(i), "linestyle": dashes(i), "linewidth": 1.2}
            axes.plot(list(curve), list(curve.values()), label=method, **look)
        axes.set_title(task)
        axes.locator_params(nbins=3)
    for axes in panels[: len(grid.tasks)][-columns:]:
        axes.set_xlabel("step")
    for axes in panels[::columns]:
        axes.set_ylabel("loss")
    legend(figure, panels[0])
    alt = f"Training loss of {listed(grid.methods)} by step, one panel for each of {listed(grid.tasks, 10)}."
    return Drawing(figure, "Training loss, mean over seeds", alt)


def mean_curve(grid: Grid, task: str, method: str) -> dict[int, float]:
    """Step -> mean loss over seeds."""
    by_step: dict[int, list[float]] = {}
    for record in grid.of(task, method):
        for step, loss in record.loss_curve:
            by_step.setdefault(step, []).append(loss)
    return {step: statistics.fmean(values) for step, values in sorted(by_step.items())}


def behind(grid: Grid, method: str) -> list[float]:
    """Points of each run behind the best method's mean on its task, over the tasks that each method has."""
    found = []
    for task in grid.tasks:
        own = {m: scored(grid, task, m) for m in grid.methods}
        if all(own.values()):
            best = max(statistics.fmean(values) for values in own.values())
            found += [best - value for value in own[method]]
    return sorted(found)


def performance_profiles(grid: Grid) -> Drawing | None:
    """For each gap, the share of a method's runs that are at most so far behind the best method of their task.

    A run without a score is never so near, so the curve of a method with failed cells ends below 1.
    """
    alive = [m for m in grid.methods if any(r.status == "ok" for r in grid.of_method(m))]
    gaps = {method: behind(grid, method) for method in alive}
    tasks = [task for task in grid.tasks if all(scored(grid, task, m) for m in grid.methods)]
    if not FEWEST <= len(alive) <= MOST_LINES or len(tasks) < FEWEST:
        return None
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    end = max(gap for values in gaps.values() for gap in values)
    for method, values in gaps.items():
        asked = sum(len(grid.of(task, method)) for task in tasks)
        shares = [(k + 1) / asked for k in range(len(values))]
        i = grid.methods.index(method)
        look: Any = {"color": colour(i), "linestyle": dashes(i), "where": "post"}
        axes.step([*values, end], [*shares, shares[-1]], label=method, **look)
    axes.set_xlabel("points behind the best mean of the task, at most")
    axes.set_ylabel("share of runs")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(0, None)
    legend(figure, axes)
    what = f"over {len(tasks)} tasks"
    alt = f"Performance profiles of {listed(alive)} {what}: a higher curve is closer to the best."
    return Drawing(figure, f"Performance profiles {what}; a run without a score is behind all", alt)
