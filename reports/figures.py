"""Figures as matplotlib objects: scores, paired differences, loss curves, memory and speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.record import Profile
from reports.compare import average_difference, by_seed, coverage, task_difference, task_estimate
from reports.frames import Grid
from reports.intervals import Estimate
from reports.tables import profile_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: told apart with every common kind of colour blindness
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
STYLE: Any = {
    "svg.hashsalt": "lorasp",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
POINT: Any = {"fmt": "o", "markersize": 4, "capsize": 2}


def colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def figures(grid: Grid, profiles: Sequence[Profile]) -> dict[str, Figure]:
    """Name -> figure; only those for which there are numbers."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(STYLE):
        drawn = {"scores": scores(grid), "differences": differences(grid), "loss": losses(grid)}
        drawn["cost"] = cost(grid, profiles)
        found = {name: figure for name, figure in drawn.items() if figure is not None}
        for figure in found.values():
            _place(figure)
    return found


def _place(figure: Figure) -> None:
    """Lay out once, not again for each format."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, columns))


def _halves(estimates: Sequence[Estimate]) -> list[float]:
    return [value.half or 0.0 for value in estimates]


MOST_COLOURS = len(PALETTE)
"""More methods than this are told apart by place, not by colour."""


def many_scores(grid: Grid) -> Figure | None:
    """One panel a task, one line a method: each seed as a faint dot, and the mean."""
    figure = _figure(2.0 + 1.9 * len(grid.tasks), 0.9 + 0.2 * len(grid.methods))
    panels = figure.subplots(1, len(grid.tasks), sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, grid.tasks, strict=True):
        for y, method in enumerate(grid.methods):
            value = task_estimate(grid, task, method, grid.averages[0])
            own = list(by_seed(grid, task, method, grid.averages[0]).values())
            axes.plot(own, [y] * len(own), ".", color=colour(0), alpha=0.35, markersize=4)
            if value is not None:
                axes.plot([value.mean], [y], "o", color=colour(0), markersize=4)
        axes.set_title(task, fontsize=9, loc="left")
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("points")
    panels[0].set_yticks(range(len(grid.methods)), grid.methods)
    panels[0].invert_yaxis()
    return figure if any(record.status == "ok" for record in grid.records) else None


def scores(grid: Grid) -> Figure | None:
    """Each seed as a faint dot, the mean and its interval beside it; one group of dots a task."""
    if len(grid.methods) > MOST_COLOURS:
        return many_scores(grid)
    figure = _figure(max(5.0, 1.1 * len(grid.tasks)), 3.4)
    axes = figure.subplots()
    step = 0.7 / len(grid.methods)
    for i, method in enumerate(grid.methods):
        place = (i - (len(grid.methods) - 1) / 2) * step
        found = [
            (x + place, value, list(by_seed(grid, task, method, grid.averages[0]).values()))
            for x, task in enumerate(grid.tasks)
            if (value := task_estimate(grid, task, method, grid.averages[0]))
        ]
        if not found:
            continue
        dots = [(x - step / 5, own) for x, _, values in found for own in values]
        axes.plot(*zip(*dots, strict=True), ".", color=colour(i), alpha=0.35, markersize=4)
        means = [value.mean for _, value, _ in found]
        halves = _halves([value for _, value, _ in found])
        axes.errorbar([x for x, _, _ in found], means, yerr=halves, color=colour(i), label=method, **POINT)
    if not axes.lines:
        return None
    for x, task in enumerate(grid.tasks):
        constant = next((r.majority for r in grid.of_task(task) if r.majority is not None), None)
        if constant is not None:
            axes.hlines(constant, x - 0.4, x + 0.4, color="#888888", linewidth=1, linestyle=":")
    axes.set_xticks(range(len(grid.tasks)), grid.tasks)
    axes.locator_params(axis="y", nbins=6)
    axes.set_ylabel("points")
    axes.set_title("Score by task: mean, 95 % interval, each seed (dotted: best constant)", loc="left", fontsize=9)
    _legend(figure, axes, len(grid.methods))
    return figure


def differences(grid: Grid) -> Figure | None:
    """Forest plot of the paired differences to the first method."""
    first, *others = grid.methods
    cover = coverage(grid, grid.averages[0])
    rows = [*grid.tasks, cover.label]
    if len(others) >= MOST_COLOURS:
        return None
    figure = _figure(5.6, 0.8 + 0.32 * len(rows) * max(1, len(others) * 0.6))
    axes = figure.subplots()
    for i, method in enumerate(others):
        gaps = [task_difference(grid, task, method, first, grid.averages[0]) for task in grid.tasks]
        gaps.append(average_difference(grid, method, first, cover))
        place = (i - (len(others) - 1) / 2) * 0.7 / len(others)
        found = [(y + place, gap) for y, gap in enumerate(gaps) if gap]
        if found:
            means, halves = [gap.mean for _, gap in found], _halves([gap for _, gap in found])
            axes.errorbar(means, [y for y, _ in found], xerr=halves, color=colour(i + 1), label=method, **POINT)
    if not axes.lines:
        return None
    axes.axvline(0, color="#444444", linewidth=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.locator_params(axis="x", nbins=6)
    axes.invert_yaxis()
    axes.set_xlabel(f"points above {first}, paired by seed, 95 % interval")
    _legend(figure, axes, len(others))
    return figure


def losses(grid: Grid) -> Figure | None:
    """Training loss, mean over seeds; one panel a task. Too many curves show nothing."""
    if len(grid.methods) > MOST_COLOURS:
        return None
    columns = min(3, len(grid.tasks))
    lines = -(-len(grid.tasks) // columns)
    figure = _figure(2.4 * columns, 1.7 * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes in panels[len(grid.tasks) :]:
        axes.set_visible(False)
    for axes, task in zip(panels, grid.tasks, strict=False):
        for i, method in enumerate(grid.methods):
            by_step: dict[int, list[float]] = {}
            for record in grid.of(task, method):
                for step, loss in record.loss_curve:
                    by_step.setdefault(step, []).append(loss)
            values = [sum(v) / len(v) for v in by_step.values()]
            axes.plot(list(by_step), values, color=colour(i), linewidth=1.2, label=method)
        axes.set_title(task, fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=3)
    _legend(figure, panels[0], len(grid.methods))
    return figure if any(record.loss_curve for record in grid.records) else None


def cost(grid: Grid, profiles: Sequence[Profile]) -> Figure | None:
    """Peak memory and speed of each method alone."""
    found = [(m, p) for m in grid.methods if (p := profile_of(grid.of_method(m)[0], profiles)) and p.status == "ok"]
    if not found:
        return None
    figure = _figure(6.4, 0.9 + 0.35 * len(found))
    left, right = figure.subplots(1, 2, sharey=True)
    for i, (_, profile) in enumerate(found):
        left.barh(i, (profile.peak_bytes or 0) / 2**20, color=colour(i))
        right.barh(i, profile.samples_per_second or 0, color=colour(i))
    left.set_yticks(range(len(found)), [m for m, _ in found])
    left.invert_yaxis()
    left.set_xlabel(f"peak MiB, {found[0][1].peak_kind}")
    right.set_xlabel("samples per second")
    return figure
