"""Score against what it costs, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.core.profile import Profile
from reports.compare import Coverage, estimate_average, find_coverage
from reports.document import Drawing
from reports.frames import Grid
from reports.plots.labels import label_points, lead_points, separate_points
from reports.plots.style import (
    GREY,
    INK,
    PAPER,
    create_figure,
    get_colour,
    get_line_height,
    is_column,
    join_names,
    wrap_name,
    wrap_text,
)
from reports.registered import SuiteContext, report_figure
from reports.solo import find_profile
from reports.statistics.forgetting import estimate_forgetting
from reports.statistics.student import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIB = 2**20
MAX_LABEL = 22
"""Characters in a line of a point's name."""
MARKER_SIZE = 3.6
"""Points."""
Spot = tuple[int, float, float]
"""(number of the method, cost, score)."""


def find_pareto_front(spots: Sequence[Spot]) -> list[Spot]:
    """Those that no other beats in both: no more cost with a higher score, or less cost with the same. By cost."""
    best: list[Spot] = []
    for spot in sorted(spots, key=lambda s: (s[1], -s[2])):
        if not best or spot[2] > best[-1][2]:
            best.append(spot)
    return best


@report_figure("tradeoff", place=40, topic="cost", chart="tradeoff")
def draw_tradeoff(context: SuiteContext) -> Drawing | None:
    """One panel against trainable parameters, one against peak memory; only those with two methods or more."""
    grid, profiles = context.grid, context.profiles
    cover = find_coverage(grid, grid.averages[0])
    means = {m: value for m in grid.methods if (value := estimate_average(grid, m, cover))}
    candidates = [
        ("trainable parameters, with the head", _collect_parameter_spots(grid, means)),
        (f"peak memory in MiB, {_describe_peak_kind(profiles)}", _collect_memory_spots(grid, means, profiles)),
    ]
    panels = [(label, spots) for label, spots in candidates if len(spots) > 1]
    if not panels:
        return None
    caption = f"Score ({cover.label}) against cost; filled: on the Pareto front; "
    return _draw_panels(context, means, cover, panels, caption, "cost")


@report_figure("forgetting", place=45, topic="cost")
def draw_forgetting(context: SuiteContext) -> Drawing | None:
    """Score against the change of the loss on the forgetting text, where two methods or more have it of one text."""
    grid = context.grid
    cover = find_coverage(grid, grid.averages[0])
    means = {m: value for m in grid.methods if (value := estimate_average(grid, m, cover))}
    changes = {i: estimate_forgetting(grid, method) for i, method in enumerate(grid.methods) if method in means}
    spots = [(i, change.mean, means[grid.methods[i]].mean) for i, change in changes.items() if change]
    if len(spots) < 2:
        return None
    caption = f"Score ({cover.label}) against forgetting: the loss on a text that no run trains on, after fine-tuning "
    caption += "less before; filled: on the Pareto front; "
    return _draw_panels(context, means, cover, [("forgetting in nats per token", spots)], caption, "forgetting")


def _draw_panels(
    context: SuiteContext,
    means: Mapping[str, Estimate],
    cover: Coverage,
    panels: Sequence[tuple[str, list[Spot]]],
    caption: str,
    what: str,
) -> Drawing:
    """One panel per kind of cost, all with the same scores."""
    grid = context.grid
    stacked = is_column(context.figure_width)
    # the list of names needs its lines
    lines = sum(wrap_name(method, MAX_LABEL).count("\n") + 1 for method in means)
    height = max(2.4, 1.0 + lines * get_line_height(context.figure_width))
    figure = create_figure(context.figure_width, height * (len(panels) if stacked else 1))
    grid_shape = (len(panels), 1) if stacked else (1, len(panels))
    all_axes = figure.subplots(*grid_shape, squeeze=False).flatten()
    caption += "upright lines: 95 % intervals; points that would hide each other stand side by side"
    for i, (axes, (label, spots)) in enumerate(zip(all_axes, panels, strict=True)):
        _set_scales(axes, [x for _, x, _ in spots])
        axes.errorbar(
            [x for _, x, _ in spots],
            [y for _, _, y in spots],
            yerr=[means[grid.methods[i]].half or 0.0 for i, _, _ in spots],
            fmt="none",
            ecolor=GREY,
            elinewidth=0.6,
            alpha=0.6,
        )
        axes.set_xlim(axes.get_xlim())
        axes.set_ylim(axes.get_ylim())
        axes.set_xlabel(wrap_text(label, 1.5, context.figure_width))
        axes.set_ylabel(
            wrap_text(f"points, {cover.label}", 0.6 * height, context.figure_width) if i == 0 or stacked else ""
        )
        names = [wrap_name(grid.methods[i], MAX_LABEL) for i, _, _ in spots]
        label_points(axes, [(x, y) for _, x, y in spots], names, GREY)
    for axes, (_, spots) in zip(all_axes, panels, strict=True):
        _draw_points(axes, grid, spots)
    return Drawing(figure, caption, _describe_fronts(grid, panels, what))


def _draw_points(axes: Axes, grid: Grid, spots: Sequence[Spot]) -> None:
    """The points, filled on the front, which is a line. Their axes are laid out already."""
    front = find_pareto_front(spots)
    axes.plot([x for _, x, _ in front], [y for _, _, y in front], color=INK, linewidth=0.8, drawstyle="steps-post")
    places = separate_points(axes, [(x, y) for _, x, y in spots], MARKER_SIZE)
    lead_points(axes, places, GREY)
    for spot, (x, y) in zip(spots, places, strict=True):
        method = grid.methods[spot[0]]
        colour = get_colour(0 if spot in front else 1)
        look: Any = {"color": colour, "markerfacecolor": colour if spot in front else PAPER, "markersize": MARKER_SIZE}
        look["zorder"] = 3 if spot in front else 2.5
        axes.plot([x], [y], "o", label=method, **look)


def _set_scales(axes: Axes, costs: Sequence[float]) -> None:
    """A logarithmic axis where costs differ by more than a factor of 20."""
    from matplotlib.ticker import EngFormatter, NullFormatter, StrMethodFormatter

    if max(costs) > 20 * min(costs) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.locator_params(axis="x", numticks=4)
    else:
        axes.locator_params(axis="x", nbins=3)
    if max(costs) >= 10_000:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    else:
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.margins(x=0.1, y=0.08)


def _collect_parameter_spots(grid: Grid, means: Mapping[str, Estimate]) -> list[Spot]:
    spots = []
    for i, method in enumerate(grid.methods):
        counts = next((r.parameters for r in grid.select_method(method) if r.parameters), None)
        if counts and method in means:
            trained = counts.adapter_trained + counts.head_trained + counts.backbone_trained
            spots.append((i, float(trained), means[method].mean))
    return spots


def _collect_memory_spots(grid: Grid, means: Mapping[str, Estimate], profiles: Sequence[Profile]) -> list[Spot]:
    solo_profiles = (
        (i, m, find_profile(grid.select_method(m)[0], profiles)) for i, m in enumerate(grid.methods) if m in means
    )
    return [
        (i, p.peak_bytes / MIB, means[m].mean) for i, m, p in solo_profiles if p and p.status == "ok" and p.peak_bytes
    ]


def _describe_peak_kind(profiles: Sequence[Profile]) -> str:
    return " or ".join(sorted({p.peak_kind for p in profiles})) or "not measured"


def _describe_fronts(grid: Grid, panels: Sequence[tuple[str, list[Spot]]], what: str) -> str:
    fronts = [
        f"{label}: {join_names([grid.methods[i] for i, _, _ in find_pareto_front(spots)])}" for label, spots in panels
    ]
    return f"Scatter plot of score against {what}. On the Pareto front by {'; by '.join(fronts)}."
