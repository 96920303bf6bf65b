"""The picture of a bench: the panels that its JSON holds, as bars, stacked bars or a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.document import Drawing
from reports.plots.style import INK, STYLE, create_figure, freeze_layout, get_colour, get_marker, join_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 6.8
"""Inches; names of bars take about a third of it."""


def draw_bench(content: Mapping[str, Any]) -> Drawing:
    """One panel above the other, laid out."""
    import matplotlib

    panels = content["panels"]
    heights = [2.4 if p["places"] else 0.7 + 0.24 * len(p["names"]) + 0.3 * (len(p["series"]) > 1) for p in panels]
    with matplotlib.rc_context(STYLE):
        figure = create_figure(WIDTH, sum(heights))
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for panel, panel_axes in zip(panels, axes, strict=True):
            (_draw_curve if panel["places"] else _draw_bars)(panel_axes, panel)
        freeze_layout(figure)
    facts = ", ".join(f"{k} {v}" for k, v in content["facts"].items())
    return Drawing(figure, f"bench {content['bench']}: {facts}", " ".join(_describe_panel(p) for p in panels))


def _draw_bars(axes: Axes, panel: Mapping[str, Any]) -> None:
    names, series = panel["names"], panel["series"]
    start = [0.0] * len(names)
    for i, (name, values) in enumerate(series.items()):
        axes.barh(range(len(names)), values, left=start, color=get_colour(i), label=name, height=0.7)
        start = [a + b for a, b in zip(start, values, strict=True)]
    if panel["low"]:
        ends = [_compute_distances(start, panel["low"]), _compute_distances(panel["high"], start)]
        axes.errorbar(start, range(len(names)), xerr=ends, fmt="none", ecolor=INK, capsize=2)
    if panel["mark"] is not None:
        axes.axvline(panel["mark"], color=INK, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(panel["label"])
    if len(series) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=4)


def _compute_distances(far: Sequence[float], near: Sequence[float]) -> list[float]:
    return [max(0.0, a - b) for a, b in zip(far, near, strict=True)]


def _draw_curve(axes: Axes, panel: Mapping[str, Any]) -> None:
    """Against places that double; `mark` is one of them."""
    places = panel["places"]
    for i, (name, values) in enumerate(panel["series"].items()):
        axes.plot(places, values, marker=get_marker(i), color=get_colour(i), label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [f"{p:g}" for p in places])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    if panel["mark"] is not None:
        axes.axvline(panel["mark"], color=INK, linestyle="--", linewidth=1)
    axes.set_ylabel(panel["label"])
    axes.set_xlabel("replicas in a pack")


def _describe_panel(panel: Mapping[str, Any]) -> str:
    names = panel["names"] or [f"{p:g}" for p in panel["places"]]
    totals = [sum(values) for values in zip(*panel["series"].values(), strict=True)]
    totals_text = join_names([f"{n} {t:.3g}" for n, t in zip(names, totals, strict=True)])
    return f"{'Curve' if panel['places'] else 'Bars'} of {panel['label']}: {totals_text}."
