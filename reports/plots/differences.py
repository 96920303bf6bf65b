"""Paired differences to the baseline: intervals of the mean and of each task, and a map of the numbers."""

from __future__ import annotations

from reports.compare import find_coverage
from reports.document import Drawing
from reports.frames import Grid
from reports.plots.panels import MAX_PANELS, create_panels, draw_estimates, draw_stripes
from reports.plots.scores import describe_omitted
from reports.plots.style import (
    INK,
    create_figure,
    get_character_width,
    get_line_height,
    get_style,
    join_names,
    wrap_names,
    wrap_text,
)
from reports.registered import SuiteContext, report_figure
from reports.statistics.analysis import Analysis

MIN_OTHER_METHODS = 3
"""Methods beside the baseline, from which a map says more than a list."""
MIN_NUMBER_SIZE = 5
"""Points of a number in the map at least; where there is less room, colours and their scale are shown alone."""
Interval = tuple[float, float]
"""Difference and half of its 95 % interval, in points."""


def collect_differences(grid: Grid, analysis: Analysis) -> dict[tuple[str, str], Interval]:
    """(method, place) -> its difference to the baseline, which are those of the table of comparisons.

    A place is a task or the label of the average.
    """
    baseline = analysis.baselines[grid.suite]
    differences: dict[tuple[str, str], Interval] = {}
    for c in (judged.comparison for judged in analysis.judged):
        if c.suite != grid.suite or baseline not in (c.method, c.first) or c.difference is None:
            continue
        # a declared pair may have the baseline on its other side
        sign, method = (1, c.method) if c.first == baseline else (-1, c.first)
        differences[method, c.place] = sign * c.difference, c.estimate.half if c.estimate else 0.0
    return differences


@report_figure("differences", place=20, topic="comparisons", chart="differences")
def draw_forest(context: SuiteContext) -> Drawing | None:
    """One panel for the mean over tasks and one a task, one row a method."""
    grid, analysis = context.grid, context.analysis
    if analysis is None:
        return None
    first, differences = analysis.baselines[grid.suite], collect_differences(grid, analysis)
    methods = [method for method in grid.methods if method != first]
    label = find_coverage(grid, grid.averages[0]).label
    # the mean over a single task says what the task says
    places = [*([label] if len(grid.tasks) > 1 else []), *grid.tasks]
    compared = {place for _, place in differences}
    places = [place for place in places if place in compared]
    if not places:
        return None
    shown = places[:MAX_PANELS]
    panels = create_panels(context.figure_width, methods, shown)
    caption = f"Paired differences to {first}, with 95 % intervals{describe_omitted(places)}"
    alt = f"Forest plot of {join_names(methods)} less {first}; the numbers are in the table of comparisons."
    for axes, place in zip(panels.axes, shown, strict=True):
        draw_stripes(axes, len(methods))
        axes.axvline(0, color=INK, linewidth=0.9)
        rows = [y for y, method in enumerate(methods) if (method, place) in differences]
        values = [differences[methods[y], place] for y in rows]
        draw_estimates(panels, axes, rows, [value for value, _ in values], [half for _, half in values])
    panels.label(f"points above {first}, paired by seed")
    return Drawing(panels.figure, caption, alt)


@report_figure("heatmap", place=30, topic="comparisons", chart="heatmap")
def draw_heat_map(context: SuiteContext) -> Drawing | None:
    """Method x task: the paired difference to the baseline, in a scale that is white at no difference."""
    grid, width, analysis = context.grid, context.figure_width, context.analysis
    if analysis is None:
        return None
    first, differences = analysis.baselines[grid.suite], collect_differences(grid, analysis)
    compared = {method for method, _ in differences}
    methods = [method for method in grid.methods if method in compared]
    if len(methods) < MIN_OTHER_METHODS or len(grid.tasks) < 2:
        return None
    missing = (float("nan"), 0.0)
    values = []
    for method in methods:
        values.append([differences.get((method, task), missing)[0] for task in grid.tasks])
    labels = wrap_names(methods, width)
    lines = max(label.count("\n") + 1 for label in labels)
    row = lines * get_line_height(width) + 0.08
    titles = wrap_names(grid.tasks, width)
    character = get_character_width(width)
    cell = (width - max(len(line) for label in labels for line in label.split("\n")) * character) / len(grid.tasks)
    is_turned = max(map(len, titles)) * character > cell
    depth = max(map(len, titles)) * character if is_turned else 0.2
    title = wrap_text(f"points above {first}", 0.5 * width, width)
    title_height = (title.count("\n") + 1) * get_line_height(width)
    figure = create_figure(width, 0.35 + title_height + depth + row * len(methods))
    axes = figure.subplots()
    limit = max((abs(v) for line in values for v in line if v == v), default=0.0) or 1.0
    image = axes.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
    # as large as the text, or what five characters leave
    size = min(float(get_style(width)["font.size"]), 72 * cell / (5 * 0.62))
    if size < MIN_NUMBER_SIZE:
        figure.colorbar(image, ax=axes)
    for y, line in enumerate(values if size >= MIN_NUMBER_SIZE else []):
        for x, value in enumerate(line):
            text = f"{value:+.1f}" if value == value else "-"
            colour = "white" if abs(value) > 0.6 * limit else "#111111"
            axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=size)
    axes.set_xticks(range(len(grid.tasks)), titles, rotation=90 if is_turned else 0)
    axes.set_yticks(range(len(methods)), labels)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.set_title(title)
    summary = f"Heat map, {len(methods)} methods by {len(grid.tasks)} tasks, of points above {first}"
    alt = f"{summary}; the numbers are in the table of comparisons."
    return Drawing(figure, f"Paired difference to {first} by method and task", alt)
