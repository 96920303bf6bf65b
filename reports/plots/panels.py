"""The layout that most figures have: methods down the side, named at the axis, and one panel a task.

              cola          mrpc          rte
    lora    |  .:-o-:.  |    -o-.   |  ..-o-
    lorasp  | .:-o-.    |   .-o-    |   -o-..      a row per method; dots of runs lie below the mean
    full    |    .-o-:. |     .-o-  |    .-o-.

A curve per method takes the height of its row, so fourteen curves neither cross nor need a legend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.plots.style import (
    GREY,
    create_figure,
    get_character_width,
    get_colour,
    get_line_height,
    is_column,
    wrap_lines,
    wrap_names,
    wrap_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 12
"""Panels of a figure at most; the table has the other tasks."""
MEAN_PLACE, DOT_PLACE, DOT_BAND = -0.25, 0.17, 0.22
"""Of a row, whose height is 1: the middle of the mean, that of the dots, and half of the height that dots may take."""
Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panels:
    """A figure with one panel per title, all with the same rows. `panel_inches`: about what a panel is wide."""

    figure: Figure
    axes: Sequence[Axes]
    width: float
    panel_inches: float

    @property
    def is_column(self) -> bool:
        return is_column(self.width)

    @property
    def marker_size(self) -> float:
        """Points of a dot; a mean is drawn 1.3 times as large."""
        return 2.2 if self.is_column else 3.0

    def label(self, text: str) -> None:
        """Write what the x axes have in common, and set as many ticks as their numbers leave room for."""
        for axes in self.axes:
            if axes.get_xscale() == "linear":
                axes.set_xticks(choose_ticks(*axes.get_xlim(), self.panel_inches / get_character_width(self.width)))
        self.figure.supxlabel(wrap_text(text, 0.8 * self.width, self.width), fontsize="medium")


def create_panels(width: float, names: Sequence[str], titles: Sequence[str], row: float = 0.0) -> Panels:
    """Panels side by side as far as they fit into `width` inches, then below each other.

    `row`: inches of a row at least, less in a column; a row is as high as its name, which is wrapped, needs.
    """
    column = is_column(width)
    labels = wrap_names(names, width)
    lines = max(label.count("\n") + 1 for label in labels)
    row = max(row * (0.65 if column else 1.0), 0.15 if column else 0.19, lines * get_line_height(width) + 0.03)
    longest = max(len(line) for label in labels for line in label.split("\n"))
    room = width - longest * get_character_width(width)
    fitting = max(1, min(len(titles), int(room / (0.68 if column else 0.85))))
    panel_rows = math.ceil(len(titles) / fitting)
    columns = math.ceil(len(titles) / panel_rows)
    most = max(6, int(0.95 * room / columns / get_character_width(width)))
    heads = [wrap_lines(title, most) for title in titles]
    head = 0.3 + get_line_height(width) * max(text.count("\n") + 1 for text in heads)
    figure = create_figure(width, 0.3 + panel_rows * (head + row * len(names)))
    grid = figure.subplots(panel_rows, columns, sharey=True, squeeze=False).flatten()
    for axes, text in zip(grid, heads, strict=False):
        axes.set_title(text)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
    for axes in grid[len(titles) :]:
        axes.set_visible(False)
    # shared: setting the ticks of one panel sets them for all
    grid[0].set_yticks(range(len(names)), labels)
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    return Panels(figure, list(grid[: len(titles)]), width, 0.85 * room / columns)


def choose_ticks(low: float, high: float, characters: float) -> list[float]:
    """Two to seven round numbers from `low` to `high`, whose texts fit side by side into so many characters."""
    from matplotlib.ticker import MaxNLocator

    ticks: list[float] = []
    for intervals in range(6, 0, -1):
        every = MaxNLocator(intervals, steps=[1, 2, 5, 10]).tick_values(low, high)
        ticks = [float(tick) for tick in every if low <= tick <= high]
        longest = max((len(f"{tick:g}") for tick in ticks), default=0)
        if len(ticks) > 1 and (ticks[1] - ticks[0]) / (high - low) * characters >= longest + 1:
            return ticks
    # fewer than two would give no scale
    return ticks if len(ticks) < 3 else [ticks[0], ticks[-1]]


def draw_stripes(axes: Axes, count: int) -> None:
    """Every second row shaded, so that the eye keeps to a row."""
    for y in range(1, count, 2):
        axes.axhspan(y - 0.5, y + 0.5, color=GREY, alpha=0.1, linewidth=0)


def draw_dots(panels: Panels, axes: Axes, rows: Sequence[Sequence[float]]) -> Any:
    """The values of each row as dots that do not hide each other; returns the line that has them, row after row.

    The scale of the axes must be set.
    """
    values = [value for row in rows for value in row]
    places = [list(map(float, axes.xaxis.get_transform().transform(row))) for row in rows]
    flat = [x for row in places for x in row]
    diameter = 1.1 * panels.marker_size / 72 / panels.panel_inches * (max(flat, default=0.0) - min(flat, default=0.0))
    heights = [
        y + DOT_PLACE + offset for y, row in enumerate(places) for offset in compute_swarm(row, diameter, DOT_BAND)
    ]
    (line,) = axes.plot(
        values, heights, ".", color=get_colour(0), alpha=0.6, ms=2 * panels.marker_size, markeredgewidth=0
    )
    return line


def draw_estimates(
    panels: Panels, axes: Axes, rows: Sequence[int], means: Sequence[float], halves: Any, middle: float = 0
) -> None:
    """A mean with its interval in each of `rows`.

    `halves` are those of the intervals, or the distances to their two ends [2, n].
    """
    heights = [y + middle for y in rows]
    size = 1.3 * panels.marker_size
    look: Any = {"fmt": "o", "markersize": size, "capsize": size / 2, "elinewidth": 1, "color": get_colour(1)}
    axes.errorbar(means, heights, xerr=halves, **look)


def compute_swarm(values: Sequence[float], diameter: float, band: float) -> list[float]:
    """The offset of each dot from the middle of its row, at most `band`, so that near values lie side by side.

    Lanes are filled from the middle; the distance of lanes shrinks where `band` has no room for so many.
    """
    lanes: list[float] = []
    lane_of = [0] * len(values)
    for i in sorted(range(len(values)), key=values.__getitem__):
        free = next((n for n, last in enumerate(lanes) if values[i] - last >= diameter > 0), None)
        if free is None:
            lanes.append(values[i])
        lane_of[i] = len(lanes) - 1 if free is None else free
        lanes[lane_of[i]] = values[i]
    sides = [(n + 1) // 2 * (1 if n % 2 else -1) for n in lane_of]
    step = min(band / 2, band / max(1, *map(abs, sides))) if sides else 0.0
    return [side * step for side in sides]


def draw_curve_rows(panels: Panels, axes: Axes, curves: Sequence[Curve], low: float, high: float) -> None:
    """Each curve within its row, which spans `low` to `high`; the first curve again in each row, in grey."""
    height = 0.86

    def lift(curve: Curve, y: int) -> list[float]:
        share = [(value - low) / ((high - low) or 1.0) for _, value in curve]
        return [y + height / 2 - height * s for s in share]

    reference = curves[0]
    for y, curve in enumerate(curves):
        if not curve:
            continue
        steps = [x for x, _ in curve]
        if y and reference:
            axes.plot([x for x, _ in reference], lift(reference, y), color=GREY, linewidth=0.8)
        axes.plot(steps, lift(curve, y), color=get_colour(0), linewidth=0.9 if panels.is_column else 1.2)
        axes.axhline(y + height / 2, color=GREY, linewidth=0.4, alpha=0.6)
