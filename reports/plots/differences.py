"""Paired differences to the first method: a forest plot, and a heat map where there are many."""

from __future__ import annotations

from collections.abc import Sequence

from reports.compare import average_difference, coverage, task_difference
from reports.document import Drawing
from reports.frames import Grid
from reports.intervals import Estimate
from reports.plots.style import CHARACTER, INK, MOST_COLOURS, POINT, colour, halves, legend, listed, new_figure

FEWEST = 3
"""Methods beside the first, from which a map says more than a list."""


def _gaps(grid: Grid, method: str) -> list[Estimate | None]:
    """One a task, and that of the mean over tasks at the end."""
    average = grid.averages[0]
    gaps = [task_difference(grid, task, method, grid.methods[0], average) for task in grid.tasks]
    return [*gaps, average_difference(grid, method, grid.methods[0], coverage(grid, average))]


def _runs(grid: Grid, method: str, row: int) -> list[str]:
    tasks = grid.tasks[row : row + 1] or coverage(grid, grid.averages[0]).tasks
    return [record.key for task in tasks for record in grid.of(task, method)]


def forest(grid: Grid) -> Drawing | None:
    """Tasks down the side; with more methods than colours, methods down the side and the mean over tasks only."""
    if len(grid.methods) > MOST_COLOURS:
        return _forest_of_means(grid)
    first, *others = grid.methods
    rows = [*grid.tasks, coverage(grid, grid.averages[0]).label]
    figure = new_figure(5.6, 0.8 + 0.32 * len(rows) * max(1, len(others) * 0.6))
    axes = figure.subplots()
    alt = f"Forest plot of {listed(others)} less {first}; the numbers are in the table of paired differences."
    drawing = Drawing(figure, "Paired differences to the first method", alt)
    for i, method in enumerate(others):
        shift = (i - (len(others) - 1) / 2) * 0.7 / len(others)
        found = [(y, gap) for y, gap in enumerate(_gaps(grid, method)) if gap]
        if found:
            means, spread = [gap.mean for _, gap in found], halves([gap for _, gap in found])
            at = [y + shift for y, _ in found]
            bars = axes.errorbar(means, at, xerr=spread, color=colour(i + 1), label=method, **POINT)
            drawing.trace(bars[0], [_runs(grid, method, y) for y, _ in found])
    if not axes.lines:
        return None
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.locator_params(axis="x", nbins=6)
    axes.invert_yaxis()
    axes.set_xlabel(f"points above {first},\npaired by seed, 95 % interval")
    legend(figure, axes)
    return drawing


def _forest_of_means(grid: Grid) -> Drawing | None:
    first, *others = grid.methods
    cover = coverage(grid, grid.averages[0])
    found = [(m, gap) for m in others if (gap := average_difference(grid, m, first, cover))]
    if not found:
        return None
    figure = new_figure(max(5.6, _room(first, [m for m, _ in found])), 0.9 + 0.2 * len(found))
    axes = figure.subplots()
    caption = f"Paired differences to the first method, {cover.label}"
    drawing = Drawing(figure, caption, f"Forest plot of {len(found)} methods less {first}, {cover.label}.")
    means, spread = [gap.mean for _, gap in found], halves([gap for _, gap in found])
    bars = axes.errorbar(means, range(len(found)), xerr=spread, color=colour(0), **POINT)
    drawing.trace(bars[0], [_runs(grid, method, len(grid.tasks)) for method, _ in found])
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(found)), [method for method, _ in found])
    axes.invert_yaxis()
    axes.set_xlabel(f"points above {first},\npaired by seed, 95 % interval")
    return drawing


def _room(first: str, methods: Sequence[str]) -> float:
    """Inches for the methods down the side and a text with the first's name beside them."""
    return 0.5 + CHARACTER * (max(map(len, methods)) + len(f"points above {first},"))


def heat_map(grid: Grid) -> Drawing | None:
    """Method x task: the paired difference to the first method, in a scale that is white at no difference."""
    first, *others = grid.methods
    rows = [(method, _gaps(grid, method)[:-1]) for method in others] if len(others) >= FEWEST else []
    rows = [(method, gaps) for method, gaps in rows if any(gaps)]
    if len(rows) < FEWEST or len(grid.tasks) < 2:
        return None
    values = [[gap.mean if gap else float("nan") for gap in gaps] for _, gaps in rows]
    width = max(2.6 + 0.62 * len(grid.tasks), _room(first, [m for m, _ in rows]))
    figure = new_figure(width, 1.0 + 0.24 * len(rows))
    axes = figure.subplots()
    reach = max((abs(v) for row in values for v in row if v == v), default=0.0) or 1.0
    image = axes.imshow(values, cmap="PuOr", vmin=-reach, vmax=reach, aspect="auto")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            dark = abs(value) > 0.6 * reach
            text = f"{value:+.1f}" if value == value else "-"
            axes.text(x, y, text, ha="center", va="center", color="white" if dark else "#111111")
    axes.set_xticks(range(len(grid.tasks)), grid.tasks)
    axes.set_yticks(range(len(rows)), [method for method, _ in rows])
    axes.grid(False)
    axes.set_title(f"points above {first}")
    figure.colorbar(image, ax=axes, label="points")
    what = f"Heat map, {len(rows)} methods by {len(grid.tasks)} tasks, of points above {first}"
    alt = f"{what}; each square has its number."
    return Drawing(figure, f"Paired difference to {first} by method and task", alt)
