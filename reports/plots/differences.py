"""Paired differences to the baseline: a forest plot, and a heat map where there are many."""

from __future__ import annotations

from collections.abc import Sequence

from reports.compare import find_coverage
from reports.document import Drawing
from reports.frames import Grid
from reports.plots.style import (
    CHARACTER,
    INK,
    MAX_COLOURS,
    POINT,
    add_legend,
    create_figure,
    get_colour,
    join_names,
    list_half_widths,
)
from reports.registered import SuiteContext, report_figure
from reports.statistics.analysis import Analysis
from reports.statistics.student import Estimate, Student

MIN_OTHER_METHODS = 3
"""Methods beside the first, from which a map says more than a list."""


def _collect_gaps(grid: Grid, analysis: Analysis) -> tuple[str, dict[str, list[Estimate | None]]]:
    """The baseline, and method -> its differences: one a task, and that of the mean over tasks at the end.

    They are those of the table of comparisons.
    """
    baseline, label = analysis.baselines[grid.suite], find_coverage(grid, grid.averages[0]).label
    gaps: dict[tuple[str, str], Estimate] = {}
    for c in (judged.comparison for judged in analysis.judged):
        if c.suite != grid.suite or baseline not in (c.method, c.first) or c.difference is None:
            continue
        sign = 1 if c.first == baseline else -1
        interval = c.estimate and Student(sign * c.estimate.value, c.estimate.se, c.estimate.df)
        other = c.method if c.first == baseline else c.first
        is_constant = interval is None and c.pairs > 1
        gaps[c.place, other] = Estimate(sign * c.difference, c.pairs, interval, is_constant)
    methods = [method for method in grid.methods if method != baseline]
    return baseline, {m: [gaps.get((place, m)) for place in (*grid.tasks, label)] for m in methods}


def _list_run_keys(grid: Grid, method: str, row: int) -> list[str]:
    tasks = grid.tasks[row : row + 1] or find_coverage(grid, grid.averages[0]).tasks
    return [record.key for task in tasks for record in grid.of(task, method)]


def draw_forest(grid: Grid, analysis: Analysis) -> Drawing | None:
    """Tasks down the side; with more methods than colours, methods down the side and the mean over tasks only."""
    if len(grid.methods) > MAX_COLOURS:
        return _draw_forest_of_means(grid, analysis)
    first, gaps = _collect_gaps(grid, analysis)
    other_methods = list(gaps)
    rows = [*grid.tasks, find_coverage(grid, grid.averages[0]).label]
    figure = create_figure(5.6, 0.8 + 0.32 * len(rows) * max(1, len(other_methods) * 0.6))
    axes = figure.subplots()
    alt = f"Forest plot of {join_names(other_methods)} less {first}; the numbers are in the table of comparisons."
    drawing = Drawing(figure, "Paired differences to the baseline", alt)
    for i, method in enumerate(other_methods):
        shift = (i - (len(other_methods) - 1) / 2) * 0.7 / len(other_methods)
        points = [(y, gap) for y, gap in enumerate(gaps[method]) if gap]
        if points:
            means, spread = [gap.mean for _, gap in points], list_half_widths([gap for _, gap in points])
            heights = [y + shift for y, _ in points]
            bars = axes.errorbar(means, heights, xerr=spread, color=get_colour(i + 1), label=method, **POINT)
            drawing.trace(bars[0], [_list_run_keys(grid, method, y) for y, _ in points])
    if not axes.lines:
        return None
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.locator_params(axis="x", nbins=6)
    axes.invert_yaxis()
    axes.set_xlabel(f"points above {first},\npaired by seed, 95 % interval")
    add_legend(figure, axes)
    return drawing


def _draw_forest_of_means(grid: Grid, analysis: Analysis) -> Drawing | None:
    first, gaps_by_method = _collect_gaps(grid, analysis)
    cover = find_coverage(grid, grid.averages[0])
    gaps = [(method, gap) for method, (*_, gap) in gaps_by_method.items() if gap]
    if not gaps:
        return None
    figure = create_figure(max(5.6, _compute_width(first, [m for m, _ in gaps])), 0.9 + 0.2 * len(gaps))
    axes = figure.subplots()
    caption = f"Paired differences to the baseline, {cover.label}"
    drawing = Drawing(figure, caption, f"Forest plot of {len(gaps)} methods less {first}, {cover.label}.")
    means, spread = [gap.mean for _, gap in gaps], list_half_widths([gap for _, gap in gaps])
    bars = axes.errorbar(means, range(len(gaps)), xerr=spread, color=get_colour(0), **POINT)
    drawing.trace(bars[0], [_list_run_keys(grid, method, len(grid.tasks)) for method, _ in gaps])
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(gaps)), [method for method, _ in gaps])
    axes.invert_yaxis()
    axes.set_xlabel(f"points above {first},\npaired by seed, 95 % interval")
    return drawing


def _compute_width(first: str, methods: Sequence[str]) -> float:
    """Inches for the methods down the side and a text with the first's name beside them."""
    return 0.5 + CHARACTER * (max(map(len, methods)) + len(f"points above {first},"))


def draw_heat_map(grid: Grid, analysis: Analysis) -> Drawing | None:
    """Method x task: the paired difference to the first method, in a scale that is white at no difference."""
    first, gaps_by_method = _collect_gaps(grid, analysis)
    rows = [(method, gaps[:-1]) for method, gaps in gaps_by_method.items() if any(gaps[:-1])]
    if len(rows) < MIN_OTHER_METHODS or len(grid.tasks) < 2:
        return None
    values = [[gap.mean if gap else float("nan") for gap in gaps] for _, gaps in rows]
    width = max(2.6 + 0.62 * len(grid.tasks), _compute_width(first, [m for m, _ in rows]))
    figure = create_figure(width, 1.0 + 0.24 * len(rows))
    axes = figure.subplots()
    limit = max((abs(v) for row in values for v in row if v == v), default=0.0) or 1.0
    image = axes.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            dark = abs(value) > 0.6 * limit
            text = f"{value:+.1f}" if value == value else "-"
            axes.text(x, y, text, ha="center", va="center", color="white" if dark else "#111111")
    axes.set_xticks(range(len(grid.tasks)), grid.tasks)
    axes.set_yticks(range(len(rows)), [method for method, _ in rows])
    axes.grid(False)
    axes.set_title(f"points above {first}")
    figure.colorbar(image, ax=axes, label="points")
    summary = f"Heat map, {len(rows)} methods by {len(grid.tasks)} tasks, of points above {first}"
    alt = f"{summary}; each square has its number."
    return Drawing(figure, f"Paired difference to {first} by method and task", alt)


# ---------------------------------------------------------------- registration


@report_figure("differences", place=20, topic="comparisons", chart="differences")
def _draw_differences(context: SuiteContext) -> Drawing | None:
    return draw_forest(context.grid, context.analysis) if context.analysis else None


@report_figure("heatmap", place=30, topic="comparisons", chart="heatmap")
def _draw_heatmap(context: SuiteContext) -> Drawing | None:
    return draw_heat_map(context.grid, context.analysis) if context.analysis else None
