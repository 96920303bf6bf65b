"""Scores by task, and how far apart the seeds of a method lie."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from reports.compare import collect_scores, estimate_task
from reports.document import Drawing
from reports.frames import Grid, cache_in_grid, get_score, get_seeds
from reports.plots.style import MAX_COLOURS, POINT, add_legend, create_figure, get_colour, join_names, list_half_widths
from reports.registered import SuiteContext, report_figure

Dot = tuple[float, str]
MIN_SEEDS = 3
MAX_DOTS = 1000
"""Runs of a suite at most whose dots are elements of the page, which tell of their runs."""


def list_dots(grid: Grid, task: str, method: str) -> list[Dot]:
    """(score, key) of each run with a score."""
    keys = {get_seeds(record): record.key for record in grid.of(task, method)}
    return [(value, keys[seeds]) for seeds, value in collect_scores(grid, task, method, grid.averages[0]).items()]


def trace_dots(drawing: Drawing, line: Any, keys: Sequence[str], grid: Grid) -> None:
    """The n-th dot is the run `keys[n]`; the dots of a large grid are drawn as an image, whose size is bounded."""
    if len(grid.records) > MAX_DOTS:
        line.set_rasterized(True)
    else:
        drawing.trace(line, [(key,) for key in keys])


def draw_scores(grid: Grid) -> Drawing | None:
    """Each seed as a faint dot, the mean and its interval beside it; one group of dots a task."""
    if len(grid.methods) > MAX_COLOURS:
        return draw_many_scores(grid)
    figure = create_figure(max(5.0, 1.1 * len(grid.tasks)), 3.4)
    axes = figure.subplots()
    drawing = Drawing(figure, "Scores by task", _describe_scores(grid))
    step = 0.7 / len(grid.methods)
    for i, method in enumerate(grid.methods):
        shift = (i - (len(grid.methods) - 1) / 2) * step
        estimates = [
            (x + shift, value, list_dots(grid, task, method))
            for x, task in enumerate(grid.tasks)
            if (value := estimate_task(grid, task, method, grid.averages[0]))
        ]
        if not estimates:
            continue
        run_dots = [(x - step / 5, *dot) for x, _, group in estimates for dot in group]
        (line,) = axes.plot(
            [x for x, _, _ in run_dots], [y for _, y, _ in run_dots], ".", color=get_colour(i), alpha=0.35, ms=4
        )
        trace_dots(drawing, line, [key for _, _, key in run_dots], grid)
        means, spread = (
            [value.mean for _, value, _ in estimates],
            list_half_widths([value for _, value, _ in estimates]),
        )
        bars = axes.errorbar(
            [x for x, _, _ in estimates], means, yerr=spread, color=get_colour(i), label=method, **POINT
        )
        drawing.trace(bars[0], [[key for _, key in group] for _, _, group in estimates])
    if not axes.lines:
        return None
    for x, task in enumerate(grid.tasks):
        constant = next((r.majority for r in grid.select_task(task) if r.majority is not None), None)
        if constant is not None:
            axes.hlines(constant, x - 0.4, x + 0.4, color="#888888", linewidth=1, linestyle=":")
    axes.set_xticks(range(len(grid.tasks)), grid.tasks)
    axes.locator_params(axis="y", nbins=6)
    axes.set_ylabel("points")
    axes.set_title("Score by task: mean, 95 % interval, each seed (dotted: best constant)")
    add_legend(figure, axes)
    return drawing


def draw_many_scores(grid: Grid) -> Drawing | None:
    """One panel a task, one line a method: each seed as a faint dot, the mean and its interval."""
    figure = create_figure(2.0 + 1.9 * len(grid.tasks), 0.9 + 0.2 * len(grid.methods))
    panels = figure.subplots(1, len(grid.tasks), sharey=True, squeeze=False)[0]
    drawing = Drawing(figure, "Scores by task", _describe_scores(grid))
    for axes, task in zip(panels, grid.tasks, strict=True):
        run_dots = [(value, y, key) for y, m in enumerate(grid.methods) for value, key in list_dots(grid, task, m)]
        (line,) = axes.plot(
            [x for x, _, _ in run_dots], [y for _, y, _ in run_dots], ".", color=get_colour(0), alpha=0.35, ms=4
        )
        trace_dots(drawing, line, [key for _, _, key in run_dots], grid)
        estimates = [(y, m, estimate_task(grid, task, m, grid.averages[0])) for y, m in enumerate(grid.methods)]
        available = [(y, m, value) for y, m, value in estimates if value is not None]
        means, spread = (
            [value.mean for _, _, value in available],
            list_half_widths([value for _, _, value in available]),
        )
        bars = axes.errorbar(means, [y for y, _, _ in available], xerr=spread, color=get_colour(1), **POINT)
        drawing.trace(bars[0], [[r.key for r in grid.of(task, m)] for _, m, _ in available])
        axes.set_title(task)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("points")
    panels[0].set_yticks(range(len(grid.methods)), grid.methods)
    panels[0].invert_yaxis()
    return drawing if any(record.status == "ok" for record in grid.records) else None


def _describe_scores(grid: Grid) -> str:
    summary = f"Dot plot of the scores of {join_names(grid.methods)} on {join_names(grid.tasks, 10)}"
    return f"{summary}; the means and intervals are in the table of scores."


def draw_seed_spread(grid: Grid) -> Drawing | None:
    """How far each run lies from the mean of its task and method: the spread that seeds make."""
    rows = [(method, _compute_deviations(grid, method)) for method in grid.methods]
    rows = [(method, deviations) for method, deviations in rows if len(deviations) > 1]
    if not rows:
        return None
    figure = create_figure(6.4, 1.0 + 0.3 * len(rows))
    axes = figure.subplots()
    spread = [f"{method} {statistics.pstdev([x for x, _ in deviations]):.1f}" for method, deviations in rows]
    alt = f"Box plot over {len(rows)} methods; standard deviation between seeds in points: {join_names(spread)}."
    drawing = Drawing(figure, "Spread over seeds: each run less the mean of its task and method", alt)
    boxes = [[x for x, _ in deviations] for _, deviations in rows]
    axes.boxplot(boxes, positions=range(len(rows)), orientation="horizontal", widths=0.55, showfliers=False)
    for y, (method, deviations) in enumerate(rows):
        shade = get_colour(grid.methods.index(method))
        (line,) = axes.plot(
            [x for x, _ in deviations], [y] * len(deviations), "o", color=shade, alpha=0.45, markersize=3.5
        )
        trace_dots(drawing, line, [key for _, key in deviations], grid)
    axes.set_yticks(range(len(rows)), [method for method, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("points from the mean over seeds, all tasks")
    return drawing


def _compute_deviations(grid: Grid, method: str) -> list[Dot]:
    deviations: list[Dot] = []
    for task in grid.tasks:
        task_dots = list_dots(grid, task, method)
        if len(task_dots) >= MIN_SEEDS:
            mean = statistics.fmean(value for value, _ in task_dots)
            deviations += [(value - mean, key) for value, key in task_dots]
    return deviations


@cache_in_grid
def list_scores(grid: Grid, task: str, method: str) -> Sequence[float]:
    values = (get_score(record, grid.averages[0]) for record in grid.of(task, method))
    return [value for value in values if value is not None]


# ---------------------------------------------------------------- registration


@report_figure("scores", place=10, topic="scores", chart="scores")
def _draw_scores(context: SuiteContext) -> Drawing | None:
    return draw_scores(context.grid)


@report_figure("seeds", place=60, topic="stability", chart="seeds")
def _draw_seeds(context: SuiteContext) -> Drawing | None:
    return draw_seed_spread(context.grid)
