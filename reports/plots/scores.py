"""Scores by task, and how far apart the seeds of a method lie."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from reports.compare import by_seed, task_estimate
from reports.document import Drawing
from reports.frames import Grid, cache_in_grid, score, seeds_of
from reports.plots.style import MOST_COLOURS, POINT, colour, halves, legend, listed, new_figure

Dot = tuple[float, str]
FEWEST_SEEDS = 3
MOST_DOTS = 1000
"""Runs of a suite at most whose dots are elements of the page, which tell of their runs."""


def dots(grid: Grid, task: str, method: str) -> list[Dot]:
    """(score, key) of each run with a score."""
    keys = {seeds_of(record): record.key for record in grid.of(task, method)}
    return [(value, keys[seeds]) for seeds, value in by_seed(grid, task, method, grid.averages[0]).items()]


def trace_dots(drawing: Drawing, line: Any, keys: Sequence[str], grid: Grid) -> None:
    """The n-th dot is the run `keys[n]`; the dots of a large grid are drawn as an image, whose size is bounded."""
    if len(grid.records) > MOST_DOTS:
        line.set_rasterized(True)
    else:
        drawing.trace(line, [(key,) for key in keys])


def scores(grid: Grid) -> Drawing | None:
    """Each seed as a faint dot, the mean and its interval beside it; one group of dots a task."""
    if len(grid.methods) > MOST_COLOURS:
        return many_scores(grid)
    figure = new_figure(max(5.0, 1.1 * len(grid.tasks)), 3.4)
    axes = figure.subplots()
    drawing = Drawing(figure, "Scores by task", _alt(grid))
    step = 0.7 / len(grid.methods)
    for i, method in enumerate(grid.methods):
        shift = (i - (len(grid.methods) - 1) / 2) * step
        found = [
            (x + shift, value, dots(grid, task, method))
            for x, task in enumerate(grid.tasks)
            if (value := task_estimate(grid, task, method, grid.averages[0]))
        ]
        if not found:
            continue
        own = [(x - step / 5, *dot) for x, _, group in found for dot in group]
        (line,) = axes.plot([x for x, _, _ in own], [y for _, y, _ in own], ".", color=colour(i), alpha=0.35, ms=4)
        trace_dots(drawing, line, [key for _, _, key in own], grid)
        means, spread = [value.mean for _, value, _ in found], halves([value for _, value, _ in found])
        bars = axes.errorbar([x for x, _, _ in found], means, yerr=spread, color=colour(i), label=method, **POINT)
        drawing.trace(bars[0], [[key for _, key in group] for _, _, group in found])
    if not axes.lines:
        return None
    for x, task in enumerate(grid.tasks):
        constant = next((r.majority for r in grid.of_task(task) if r.majority is not None), None)
        if constant is not None:
            axes.hlines(constant, x - 0.4, x + 0.4, color="#888888", linewidth=1, linestyle=":")
    axes.set_xticks(range(len(grid.tasks)), grid.tasks)
    axes.locator_params(axis="y", nbins=6)
    axes.set_ylabel("points")
    axes.set_title("Score by task: mean, 95 % interval, each seed (dotted: best constant)")
    legend(figure, axes)
    return drawing


def many_scores(grid: Grid) -> Drawing | None:
    """One panel a task, one line a method: each seed as a faint dot, the mean and its interval."""
    figure = new_figure(2.0 + 1.9 * len(grid.tasks), 0.9 + 0.2 * len(grid.methods))
    panels = figure.subplots(1, len(grid.tasks), sharey=True, squeeze=False)[0]
    drawing = Drawing(figure, "Scores by task", _alt(grid))
    for axes, task in zip(panels, grid.tasks, strict=True):
        own = [(value, y, key) for y, m in enumerate(grid.methods) for value, key in dots(grid, task, m)]
        (line,) = axes.plot([x for x, _, _ in own], [y for _, y, _ in own], ".", color=colour(0), alpha=0.35, ms=4)
        trace_dots(drawing, line, [key for _, _, key in own], grid)
        found = [(y, m, task_estimate(grid, task, m, grid.averages[0])) for y, m in enumerate(grid.methods)]
        told = [(y, m, value) for y, m, value in found if value is not None]
        means, spread = [value.mean for _, _, value in told], halves([value for _, _, value in told])
        bars = axes.errorbar(means, [y for y, _, _ in told], xerr=spread, color=colour(1), **POINT)
        drawing.trace(bars[0], [[r.key for r in grid.of(task, m)] for _, m, _ in told])
        axes.set_title(task)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("points")
    panels[0].set_yticks(range(len(grid.methods)), grid.methods)
    panels[0].invert_yaxis()
    return drawing if any(record.status == "ok" for record in grid.records) else None


def _alt(grid: Grid) -> str:
    what = f"Dot plot of the scores of {listed(grid.methods)} on {listed(grid.tasks, 10)}"
    return f"{what}; the means and intervals are in the table of scores."


def seeds(grid: Grid) -> Drawing | None:
    """How far each run lies from the mean of its task and method: the spread that seeds make."""
    rows = [(method, _deviations(grid, method)) for method in grid.methods]
    rows = [(method, found) for method, found in rows if len(found) > 1]
    if not rows:
        return None
    figure = new_figure(6.4, 1.0 + 0.3 * len(rows))
    axes = figure.subplots()
    spread = [f"{method} {statistics.pstdev([x for x, _ in found]):.1f}" for method, found in rows]
    alt = f"Box plot over {len(rows)} methods; standard deviation between seeds in points: {listed(spread)}."
    drawing = Drawing(figure, "Spread over seeds: each run less the mean of its task and method", alt)
    boxes = [[x for x, _ in found] for _, found in rows]
    axes.boxplot(boxes, positions=range(len(rows)), orientation="horizontal", widths=0.55, showfliers=False)
    for y, (method, found) in enumerate(rows):
        own = colour(grid.methods.index(method))
        (line,) = axes.plot([x for x, _ in found], [y] * len(found), "o", color=own, alpha=0.45, markersize=3.5)
        trace_dots(drawing, line, [key for _, key in found], grid)
    axes.set_yticks(range(len(rows)), [method for method, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("points from the mean over seeds, all tasks")
    return drawing


def _deviations(grid: Grid, method: str) -> list[Dot]:
    found: list[Dot] = []
    for task in grid.tasks:
        own = dots(grid, task, method)
        if len(own) >= FEWEST_SEEDS:
            mean = statistics.fmean(value for value, _ in own)
            found += [(value - mean, key) for value, key in own]
    return found


@cache_in_grid
def scored(grid: Grid, task: str, method: str) -> Sequence[float]:
    values = (score(record, grid.averages[0]) for record in grid.of(task, method))
    return [value for value in values if value is not None]
