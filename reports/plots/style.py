"""What the figures share: colours that stay with a method, sizes, legends, layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reports.statistics.student import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: told apart with every common kind of colour blindness
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = "osD^vPX*"
INK, PAPER = "#1d1d1f", "#fffffe"
"""Of text and ground: values that nothing else has, so that the HTML report can put its own theme's in their place."""
MIN_FONT_SIZE = 9
"""Points; no text in a figure is smaller."""
STYLE: Any = {
    "svg.hashsalt": "lorasp",
    "font.size": MIN_FONT_SIZE,
    "axes.titlesize": MIN_FONT_SIZE,
    "axes.titlelocation": "left",
    "axes.labelsize": MIN_FONT_SIZE,
    "xtick.labelsize": MIN_FONT_SIZE,
    "ytick.labelsize": MIN_FONT_SIZE,
    "legend.fontsize": MIN_FONT_SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a method's name may hold a dollar sign
}
POINT: Any = {"fmt": "o", "markersize": 4, "capsize": 2}
LINE, CHARACTER, HANDLE = 0.19, 0.066, 0.6
"""Inches of a legend's line, of a character in it, and of what an entry has beside its text."""
DASHES = ("-", "--", ":")
MAX_LINES = len(PALETTE) * len(DASHES)
"""Curves that colour and dashes tell apart."""
MAX_COLOURS = len(PALETTE)
"""More methods than this are told apart by place, not by colour."""


def get_colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def get_dashes(index: int) -> str:
    """Of a curve, beside its colour."""
    return DASHES[index // len(PALETTE) % len(DASHES)]


def get_marker(index: int) -> str:
    """Beside the colour, and the one thing that tells the ninth method from the first."""
    return MARKERS[(index + index // len(PALETTE)) % len(MARKERS)]


def create_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def freeze_layout(figure: Figure) -> None:
    """Lay out once, not again for each format."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def add_legend(figure: Figure, axes: Axes) -> None:
    """Below all panels, in as many columns as fit; the figure grows by the lines that this takes."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        width, height = figure.get_size_inches()
        columns = count_legend_columns(labels, float(width))
        figure.set_size_inches(width, height + LINE * (-(-len(labels) // columns) - 1))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def count_legend_columns(labels: Sequence[str], width: float) -> int:
    """The most columns, four at most, that are at most `width` inches wide; matplotlib fills column by column."""
    for columns in range(min(4, len(labels)), 1, -1):
        lines, longer = divmod(len(labels), columns)
        sizes = [lines + (i < longer) for i in range(columns)]
        starts = [sum(sizes[:i]) for i in range(columns)]
        longest = [max(map(len, labels[s : s + n])) for s, n in zip(starts, sizes, strict=True)]
        if sum(n * CHARACTER + HANDLE for n in longest) <= width:
            return columns
    return 1


def list_half_widths(estimates: Sequence[Estimate]) -> list[float]:
    return [value.half or 0.0 for value in estimates]


def join_names(names: Sequence[str], most: int = 6) -> str:
    """'a, b and c', or the first few and how many more: for alternative texts."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
