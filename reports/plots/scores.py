"""Scores by task, and how far apart the seeds of a method lie."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence

from reports.compare import collect_scores, estimate_task
from reports.document import Drawing
from reports.frames import Grid, cache_in_grid, get_score
from reports.plots.panels import MAX_PANELS, MEAN_PLACE, create_panels, draw_dots, draw_estimates, draw_stripes
from reports.plots.style import GREY, INK, join_names, list_half_widths
from reports.registered import SuiteContext, report_figure

MIN_SEEDS = 3
LINEAR_WIDTH = 5
"""Points from the mean within which the axis of the spread is about linear; collapsed runs lie far beyond."""
SPREAD_CAPTION = (
    "Spread over seeds: each run less the mean of its task and method; above the dots their median and quartiles"
)
MAX_DOTS = 1000
"""Runs of a suite at most whose dots are vectors in a figure."""


def list_dots(grid: Grid, task: str, method: str) -> list[float]:
    """The score of each run that has one."""
    return list(collect_scores(grid, task, method, grid.averages[0]).values())


@report_figure("scores", place=10, topic="scores", chart="scores")
def draw_scores(context: SuiteContext) -> Drawing | None:
    """One panel a task, one row a method: the mean with its interval, and each seed as a dot below it."""
    grid = context.grid
    tasks = [t for t in grid.tasks if any(map(functools.partial(list_dots, grid, t), grid.methods))]
    if not tasks:
        return None
    shown = tasks[:MAX_PANELS]
    panels = create_panels(context.figure_width, grid.methods, shown)
    alt = (
        f"Dot plot of the scores of {join_names(grid.methods)} on {join_names(shown, 10)}; the means and intervals "
        "are in the table of scores."
    )
    caption = "Scores by task: mean with 95 % interval, each seed as a dot; the dotted line is the majority baseline"
    for axes, task in zip(panels.axes, shown, strict=True):
        draw_stripes(axes, len(grid.methods))
        dots = [list_dots(grid, task, method) for method in grid.methods]
        # The dots of a large grid are an image, so that the size of the file is bounded.
        draw_dots(panels, axes, dots).set_rasterized(len(grid.records) > MAX_DOTS)
        estimates = [(y, m, estimate_task(grid, task, m, grid.averages[0])) for y, m in enumerate(grid.methods)]
        available = [(y, m, value) for y, m, value in estimates if value is not None]
        halves = list_half_widths([value for _, _, value in available])
        places, means = [y for y, _, _ in available], [value.mean for _, _, value in available]
        draw_estimates(panels, axes, places, means, halves, MEAN_PLACE)
        baseline = next((r.majority for r in grid.select_task(task) if r.majority is not None), None)
        if baseline is not None:
            axes.axvline(baseline, color=INK, linewidth=0.9, linestyle=":")
    panels.label("points")
    return Drawing(panels.figure, caption + describe_omitted(tasks), alt)


def describe_omitted(names: Sequence[str]) -> str:
    """What a caption says of the panels that are left out."""
    omitted = len(names) - MAX_PANELS
    return f"; {omitted} more {'task is' if omitted == 1 else 'tasks are'} in the table" if omitted > 0 else ""


@report_figure("seeds", place=60, topic="stability", chart="seeds")
def draw_seed_spread(context: SuiteContext) -> Drawing | None:
    """How far each run lies from the mean of its task and method: the spread that seeds make."""
    grid = context.grid
    rows = [(method, _compute_deviations(grid, method)) for method in grid.methods]
    rows = [(method, deviations) for method, deviations in rows if len(deviations) > 1]
    if not rows:
        return None
    panels = create_panels(context.figure_width, [method for method, _ in rows], [""], 0.26)
    (axes,) = panels.axes
    values = [deviations for _, deviations in rows]
    spread = [f"{method} {statistics.pstdev(row):.1f}" for (method, _), row in zip(rows, values, strict=True)]
    alt = f"Dot plot over {len(rows)} methods; standard deviation between seeds in points: {join_names(spread)}."
    if max(abs(x) for row in values for x in row) > 4 * LINEAR_WIDTH:
        axes.set_xscale("asinh", linear_width=LINEAR_WIDTH)
        ticks = (-50, -10, 0, 10, 50) if panels.is_column else (-50, -20, -10, -5, 0, 5, 10, 20, 50)
        axes.set_xticks(ticks)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter("{x:g}")
    draw_dots(panels, axes, values).set_rasterized(len(grid.records) > MAX_DOTS)
    quarters = [statistics.quantiles(row, n=4) for row in values]
    ends = [[q[1] - q[0] for q in quarters], [q[2] - q[1] for q in quarters]]
    draw_estimates(panels, axes, range(len(rows)), [q[1] for q in quarters], ends, MEAN_PLACE)
    draw_stripes(axes, len(rows))
    axes.axvline(0, color=GREY, linewidth=0.8)
    label = "points from the mean over seeds, all tasks"
    panels.label(label if axes.get_xscale() == "linear" else f"{label} (compressed beyond {LINEAR_WIDTH})")
    return Drawing(panels.figure, SPREAD_CAPTION, alt)


def _compute_deviations(grid: Grid, method: str) -> list[float]:
    deviations: list[float] = []
    for task in grid.tasks:
        task_dots = list_dots(grid, task, method)
        if len(task_dots) >= MIN_SEEDS:
            mean = statistics.fmean(task_dots)
            deviations += [value - mean for value in task_dots]
    return deviations


@cache_in_grid
def list_scores(grid: Grid, task: str, method: str) -> Sequence[float]:
    values = (get_score(record, grid.averages[0]) for record in grid.of(task, method))
    return [value for value in values if value is not None]
