"""Names of the points of a scatter plot, in a list right of it: thin lines lead from the points to their names.

|        o-----------------|--- full
|   o----------------------|--. lorasp
|   o----------------------|--. lora         the list has the order of the points, so no two lines cross
|_________o________________|--- head
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reports.plots.panels import compute_swarm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GUTTER = 12.0
"""Points between the axes and the list, in which the lines turn to their names."""
GAP = 1.0
"""Points between two names."""


def label_points(axes: Axes, spots: Sequence[tuple[float, float]], names: Sequence[str], colour: str) -> None:
    """Write each name in the list, in the order of y. The limits of the axes and the figure's height must be final.

    The lines begin at the right end of the axes: `lead_points` draws them up to there.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text
    from matplotlib.transforms import blended_transform_factory

    figure = _lay_out(axes)
    renderer = FigureCanvasAgg(figure).get_renderer()
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    arrow: Any = {"arrowstyle": "-", "relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 0, "color": colour, "linewidth": 0.5}
    look: Any = {"xycoords": beside, "textcoords": "offset points", "va": "center", "annotation_clip": False}
    order = sorted(range(len(spots)), key=lambda i: -spots[i][1])
    texts = [axes.annotate(names[i], (1, spots[i][1]), (GUTTER, 0), arrowprops=arrow, **look) for i in order]
    # of the text alone: the extent of an annotation includes its line
    heights = [Text.get_window_extent(text, renderer).height + GAP * figure.dpi / 72 for text in texts]
    bottom, top = axes.transAxes.transform([(0, 0), (0, 1)])[:, 1]
    wanted = [float(axes.transData.transform(spots[i])[1]) for i in order]
    centres = spread_centres(wanted, heights, bottom, top)
    for text, centre, start in zip(texts, centres, wanted, strict=True):
        text.xyann = (GUTTER, (centre - start) * 72 / figure.dpi)


def lead_points(axes: Axes, spots: Sequence[tuple[float, float]], colour: str) -> None:
    """A thin line from each point to the right end of the axes."""
    end = axes.get_xlim()[1]
    for x, y in spots:
        axes.plot([x, end], [y, y], color=colour, linewidth=0.5, zorder=1.2)


def _lay_out(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    return figure


def spread_centres(wanted: Sequence[float], heights: Sequence[float], bottom: float, top: float) -> list[float]:
    """Where texts of these heights stand, from the top down: near to where they are wanted, without an overlap.

    Neighbours that would overlap form a block around the mean of where they are wanted; blocks that would are joined.
    """
    blocks: list[list[int]] = []
    for i in range(len(wanted)):
        blocks.append([i])
        while len(blocks) > 1:
            upper, lower = blocks[-2:]
            lower_end = _find_ends(upper, wanted, heights, bottom, top)[0]
            if lower_end >= _find_ends(lower, wanted, heights, bottom, top)[1]:
                break
            blocks[-2:] = [upper + lower]
    centres = []
    for block in blocks:
        edge = _find_ends(block, wanted, heights, bottom, top)[1]
        for i in block:
            centres.append(edge - heights[i] / 2)
            edge -= heights[i]
    return centres


def _find_ends(
    block: Sequence[int], wanted: Sequence[float], heights: Sequence[float], bottom: float, top: float
) -> tuple[float, float]:
    """Lower and upper end of a block, moved into the axes."""
    total = sum(heights[i] for i in block)
    middle = sum(wanted[i] for i in block) / len(block)
    middle = min(max(middle, bottom + total / 2), max(top - total / 2, bottom + total / 2))
    return middle - total / 2, middle + total / 2


def separate_points(axes: Axes, spots: Sequence[tuple[float, float]], size: float) -> list[tuple[float, float]]:
    """The points, moved sideways by up to twice `size` (in points) where they would hide each other."""
    figure = _lay_out(axes)
    pixels = size * figure.dpi / 72
    places = [tuple(map(float, axes.transData.transform(spot))) for spot in spots]
    moved = list(spots)
    columns: list[list[int]] = []
    for i in sorted(range(len(places)), key=lambda n: places[n][0]):
        if columns and places[i][0] - places[columns[-1][-1]][0] < pixels:
            columns[-1].append(i)
        else:
            columns.append([i])
    for members in columns:
        offsets = compute_swarm([places[i][1] for i in members], pixels, 2 * pixels)
        for i, offset in zip(members, offsets, strict=True):
            if offset:
                x, _ = axes.transData.inverted().transform((places[i][0] + offset, places[i][1]))
                moved[i] = (float(x), spots[i][1])
    return moved
