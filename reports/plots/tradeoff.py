"""Score against what it costs, with the Pareto front; memory by category and throughput."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.core.record import Profile
from reports.compare import estimate_average, find_coverage
from reports.document import Drawing
from reports.frames import Grid
from reports.plots.style import INK, MAX_COLOURS, add_legend, create_figure, get_colour, get_marker, join_names
from reports.registered import SuiteContext, report_figure
from reports.solo import find_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIB = 2**20
Spot = tuple[int, float, float]
"""(number of the method, cost, score)."""


def find_pareto_front(spots: Sequence[Spot]) -> list[Spot]:
    """Those that no other beats in both: no more cost with a higher score, or less cost with the same. By cost."""
    best: list[Spot] = []
    for spot in sorted(spots, key=lambda s: (s[1], -s[2])):
        if not best or spot[2] > best[-1][2]:
            best.append(spot)
    return best


def draw_tradeoff(grid: Grid, profiles: Sequence[Profile]) -> Drawing | None:
    """One panel against trained parameters, one against peak memory; only those with two methods or more."""
    cover = find_coverage(grid, grid.averages[0])
    means = {m: value.mean for m in grid.methods if (value := estimate_average(grid, m, cover))}
    candidates = [
        ("trained parameters, with the head", _collect_parameter_spots(grid, means)),
        (f"peak MiB alone, {_describe_peak_kind(profiles)}", _collect_memory_spots(grid, means, profiles)),
    ]
    panels = [(label, spots) for label, spots in candidates if len(spots) > 1]
    if not panels:
        return None
    figure = create_figure(0.8 + 3.4 * len(panels), 3.4)
    drawing = Drawing(
        figure, f"Score ({cover.label}) against cost, with the Pareto front", _describe_fronts(grid, panels)
    )
    for i, (axes, (label, spots)) in enumerate(
        zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True)
    ):
        _draw_panel(axes, grid, drawing, spots)
        axes.set_xlabel(label)
        axes.set_ylabel(f"points, {cover.label}" if i == 0 else "")
        if i == 0:
            add_legend(figure, axes)
    return drawing


def _draw_panel(axes: Axes, grid: Grid, drawing: Drawing, spots: Sequence[Spot]) -> None:
    from matplotlib.ticker import EngFormatter, NullFormatter, StrMethodFormatter

    best = find_pareto_front(spots)
    axes.plot(
        [x for _, x, _ in best], [y for _, _, y in best], color=INK, linewidth=1, alpha=0.6, drawstyle="steps-post"
    )
    for i, x, y in spots:
        method = grid.methods[i]
        (line,) = axes.plot([x], [y], get_marker(i), color=get_colour(i), label=method, markersize=6)
        drawing.trace(line, [[record.key for record in grid.select_method(method)]])
    largest, smallest = max(x for _, x, _ in spots), min(x for _, x, _ in spots)
    if largest > 20 * smallest > 0:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.locator_params(axis="x", nbins=4)
    if largest >= 10_000:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    else:
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _collect_parameter_spots(grid: Grid, means: dict[str, float]) -> list[Spot]:
    spots = []
    for i, method in enumerate(grid.methods):
        counts = next((r.parameters for r in grid.select_method(method) if r.parameters), None)
        if counts and method in means:
            trained = counts.adapter_trained + counts.head_trained + counts.backbone_trained
            spots.append((i, float(trained), means[method]))
    return spots


def _collect_memory_spots(grid: Grid, means: dict[str, float], profiles: Sequence[Profile]) -> list[Spot]:
    solo_profiles = (
        (i, m, find_profile(grid.select_method(m)[0], profiles)) for i, m in enumerate(grid.methods) if m in means
    )
    return [(i, p.peak_bytes / MIB, means[m]) for i, m, p in solo_profiles if p and p.status == "ok" and p.peak_bytes]


def _describe_peak_kind(profiles: Sequence[Profile]) -> str:
    return " or ".join(sorted({p.peak_kind for p in profiles})) or "not measured"


def _describe_fronts(grid: Grid, panels: Sequence[tuple[str, list[Spot]]]) -> str:
    fronts = [
        f"{label}: {join_names([grid.methods[i] for i, _, _ in find_pareto_front(spots)])}" for label, spots in panels
    ]
    return f"Scatter plot of score against cost. On the Pareto front by {'; by '.join(fronts)}."


# ---------------------------------------------------------------- memory and speed


MEMORY_PARTS = (
    ("trained weights", "#0072B2"),
    ("gradients", "#E69F00"),
    ("optimizer state", "#009E73"),
    ("rest", "#999999"),
)


def draw_cost(grid: Grid, profiles: Sequence[Profile]) -> Drawing | None:
    """Peak memory by category, and speed, of each method alone."""
    method_profiles = [
        (m, p) for m in grid.methods if (p := find_profile(grid.select_method(m)[0], profiles)) and p.status == "ok"
    ]
    if not method_profiles:
        return None
    figure = create_figure(6.8, 1.1 + 0.35 * len(method_profiles))
    left, right = figure.subplots(1, 2, sharey=True)
    parts = [_split_memory(profile) for _, profile in method_profiles]
    start = [0.0] * len(method_profiles)
    for i, (name, shade) in enumerate(MEMORY_PARTS):
        sizes = [part[i] for part in parts]
        left.barh(range(len(method_profiles)), sizes, left=start, color=shade, label=name)
        start = [a + b for a, b in zip(start, sizes, strict=True)]
    for y, (method, profile) in enumerate(method_profiles):
        i = grid.methods.index(method)
        right.barh(
            y,
            profile.samples_per_second or 0,
            color=get_colour(i) if len(grid.methods) <= MAX_COLOURS else get_colour(0),
        )
    left.set_yticks(range(len(method_profiles)), [m for m, _ in method_profiles])
    left.invert_yaxis()
    left.locator_params(axis="x", nbins=5)
    right.locator_params(axis="x", nbins=5)
    left.set_xlabel(f"peak MiB, {method_profiles[0][1].peak_kind}")
    right.set_xlabel("samples per second")
    add_legend(figure, left)
    peaks = join_names([f"{m} {(p.peak_bytes or 0) / MIB:.1f}" for m, p in method_profiles])
    alt = f"Bars of peak memory in MiB ({peaks}) and of samples per second; the numbers are in the table of cost."
    return Drawing(figure, "Memory by category and speed, each method alone", alt)


def _split_memory(profile: Profile) -> tuple[float, ...]:
    """MiB by category; the rest is activations, buffers and what else the peak holds."""
    state, peak = profile.train_state, profile.peak_bytes or 0
    sizes = (state.weights, state.gradients, state.optimizer) if state else (0, 0, 0)
    return (*(count / MIB for count in sizes), max(0, peak - sum(sizes)) / MIB)


# ---------------------------------------------------------------- registration


@report_figure("tradeoff", place=40, topic="cost", chart="tradeoff")
def _draw_tradeoff(context: SuiteContext) -> Drawing | None:
    return draw_tradeoff(context.grid, context.profiles)


@report_figure("cost", place=80, topic="cost", chart="cost")
def _draw_cost(context: SuiteContext) -> Drawing | None:
    return draw_cost(context.grid, context.profiles)
