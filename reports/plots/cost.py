"""Peak memory by category and speed with its spread, of each method profiled in isolation."""

from __future__ import annotations

from harness.core.profile import Profile
from reports.document import Drawing
from reports.plots.panels import create_panels, draw_estimates, draw_stripes
from reports.plots.style import add_legend, join_names
from reports.plots.tradeoff import MIB
from reports.registered import SuiteContext, report_figure
from reports.solo import find_profile
from reports.statistics.costs import compute_speed

MEMORY_PARTS = (
    ("trained weights", "#0072B2"),
    ("gradients", "#E69F00"),
    ("optimizer state", "#009E73"),
    ("rest", "#CCCCCC"),
)


@report_figure("cost", place=80, topic="cost", chart="cost")
def draw_cost(context: SuiteContext) -> Drawing | None:
    """Bars of peak memory, and samples per second as the median with the 10th and 90th percentile."""
    grid = context.grid
    profiles = {
        m: p
        for m in grid.methods
        if (p := find_profile(grid.select_method(m)[0], context.profiles)) and p.status == "ok"
    }
    if not profiles:
        return None
    methods = list(profiles)
    kind = profiles[methods[0]].peak_kind
    panels = create_panels(context.figure_width, methods, ["peak memory, MiB", "samples/s"])
    memory, speed = panels.axes[0], panels.axes[-1]
    parts = [_split_memory(profile) for profile in profiles.values()]
    start = [0.0] * len(methods)
    for i, (name, shade) in enumerate(MEMORY_PARTS):
        sizes = [part[i] for part in parts]
        memory.barh(range(len(methods)), sizes, left=start, color=shade, label=name, height=0.7)
        start = [a + b for a, b in zip(start, sizes, strict=True)]
    draw_stripes(memory, len(methods))
    draw_stripes(speed, len(methods))
    rates = [(y, rate) for y, profile in enumerate(profiles.values()) if (rate := compute_speed(profile))]
    distances = [[rate.median - rate.low for _, rate in rates], [rate.high - rate.median for _, rate in rates]]
    draw_estimates(panels, speed, [y for y, _ in rates], [rate.median for _, rate in rates], distances)
    speed.set_xlim(left=0)
    panels.label("")
    add_legend(panels.figure, memory)
    peaks = join_names([f"{m} {(p.peak_bytes or 0) / MIB:.1f}" for m, p in profiles.items()])
    alt = f"Bars of peak memory in MiB ({peaks}) and of samples per second; the numbers are in the table of cost."
    caption = f"Peak memory ({kind}) and speed, each method profiled in isolation; lines: 10th to 90th percentile"
    return Drawing(panels.figure, caption, alt)


def _split_memory(profile: Profile) -> tuple[float, ...]:
    """MiB by category; the rest is activations, buffers and what else the peak holds."""
    state, peak = profile.train_state, profile.peak_bytes or 0
    sizes = (state.weights, state.gradients, state.optimizer) if state else (0, 0, 0)
    return (*(count / MIB for count in sizes), max(0, peak - sum(sizes)) / MIB)
