"""Figures as matplotlib objects: scores, paired differences, loss curves, memory and speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.record import Profile
from reports.compare import average_difference, by_seed, coverage, task_difference, task_estimate
from reports.frames import Grid
from reports.tables import profile_of

if TYPE_CHECKING:
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


def colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def figures(grid: Grid, profiles: Sequence[Profile]) -> dict[str, Figure]:
    """Name -> figure; only those for which there are numbers."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(STYLE):
        made = {"scores": scores(grid), "differences": differences(grid), "loss": losses(grid)}
        if profiles:
            made["cost"] = cost(grid, profiles)
    return {name: figure for name, figure in made.items() if figure is not None}


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def scores(grid: Grid) -> Figure:
    """Each seed as a faint dot, the mean and its interval beside it; one group of dots a task."""
    figure = _figure(max(5.0, 1.1 * len(grid.tasks)), 3.4)
    axes = figure.subplots()
    step = 0.7 / len(grid.methods)
    for i, method in enumerate(grid.methods):
        for x, task in enumerate(grid.tasks):
            value = task_estimate(grid, task, method, grid.averages[0])
            if value is None:
                continue
            place = x + (i - (len(grid.methods) - 1) / 2) * step
            own = list(by_seed(grid, task, method, grid.averages[0]).values())
            axes.plot([place - step / 5] * len(own), own, ".", color=colour(i), alpha=0.35, markersize=4)
            axes.errorbar(
                place,
                value.mean,
                yerr=value.half,
                fmt="o",
                color=colour(i),
                markersize=4,
                capsize=2,
                label=method if x == 0 else None,
            )
    for x, task in enumerate(grid.tasks):
        constant = next((r.majority for r in grid.of_task(task) if r.majority is not None), None)
        if constant is not None:
            axes.hlines(constant, x - 0.4, x + 0.4, color="#888888", linewidth=1, linestyle=":")
    axes.set_xticks(range(len(grid.tasks)), grid.tasks)
    axes.set_ylabel("points")
    axes.set_title("Score by task: mean, 95 % interval, each seed (dotted: best constant)", loc="left", fontsize=9)
    figure.legend(loc="outside lower center", ncols=min(4, len(grid.methods)))
    return figure


def differences(grid: Grid) -> Figure | None:
    """Forest plot of the paired differences to the first method."""
    first, *others = grid.methods
    if not others:
        return None
    cover = coverage(grid, grid.averages[0])
    rows = [*grid.tasks, cover.label]
    figure = _figure(5.6, 0.8 + 0.32 * len(rows) * max(1, len(others) * 0.6))
    axes = figure.subplots()
    for i, method in enumerate(others):
        for y, task in enumerate(rows):
            gap = (
                average_difference(grid, method, first, cover)
                if task == cover.label
                else task_difference(grid, task, method, first, grid.averages[0])
            )
            if gap is not None:
                place = y + (i - (len(others) - 1) / 2) * 0.7 / len(others)
                axes.errorbar(
                    gap.mean,
                    place,
                    xerr=gap.half,
                    fmt="o",
                    color=colour(i + 1),
                    markersize=4,
                    capsize=2,
                    label=method if y == 0 else None,
                )
    axes.axvline(0, color="#444444", linewidth=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel(f"points above {first}, paired by seed, 95 % interval")
    figure.legend(loc="outside lower center", ncols=min(4, len(others)))
    return figure


def losses(grid: Grid) -> Figure:
    """Training loss, mean over seeds; one panel a task."""
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
    names, labels = panels[0].get_legend_handles_labels()
    figure.legend(names, labels, loc="outside lower center", ncols=min(4, len(grid.methods)))
    return figure


def cost(grid: Grid, profiles: Sequence[Profile]) -> Figure:
    """Peak memory and speed of each method alone."""
    found = [(m, p) for m in grid.methods if (p := profile_of(grid.of_method(m)[0], profiles)) and p.status == "ok"]
    figure = _figure(6.4, 0.9 + 0.35 * max(1, len(found)))
    left, right = figure.subplots(1, 2, sharey=True)
    for i, (_, profile) in enumerate(found):
        left.barh(i, (profile.peak_bytes or 0) / 2**20, color=colour(i))
        right.barh(i, profile.samples_per_second or 0, color=colour(i))
    left.set_yticks(range(len(found)), [m for m, _ in found])
    left.invert_yaxis()
    left.set_xlabel(f"peak MiB, {found[0][1].peak_kind if found else ''}")
    right.set_xlabel("samples per second")
    return figure
