"""What the figures share: sizes of print, colours, and names that fit beside an axis."""

from __future__ import annotations

import re
import textwrap
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
GREY = "#8a8a8e"
"""Of reference lines: visible on light and on dark paper."""
TEXT_WIDTH, COLUMN_WIDTH = 6.9, 3.3
"""Inches of a figure as wide as the text, and as one column of a two-column page."""
FONT_SIZE, COLUMN_FONT_SIZE = 9, 7
"""Points of all text in a figure of text width and of column width; figures are included at their own size."""
STYLE: Any = {
    "svg.hashsalt": "lorasp",
    "axes.titlelocation": "left",
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
    # TrueType fonts are embedded as such: journals refuse Type 3
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a method's name may hold a dollar sign
    **dict.fromkeys(
        "font.size axes.titlesize axes.labelsize xtick.labelsize ytick.labelsize legend.fontsize".split(), FONT_SIZE
    ),
}
COLUMN_STYLE: Any = STYLE | {
    **{name: COLUMN_FONT_SIZE for name, size in STYLE.items() if name.endswith("size") and size == FONT_SIZE},
    "axes.linewidth": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "axes.titlepad": 3,
    "axes.labelpad": 2,
}
LINE, CHARACTER, HANDLE = 0.19, 0.066, 0.6
"""Inches of a legend's line, of a character in it, and of what an entry has beside its text."""
MAX_NAME_SHARE = 0.38
"""Of a figure's width that names beside an axis may take; longer names are wrapped."""


def get_style(width: float) -> Any:
    """The settings of matplotlib for a figure so wide, in inches."""
    return COLUMN_STYLE if is_column(width) else STYLE


def is_column(width: float) -> bool:
    """Whether a figure so wide stands in one column of a two-column page."""
    return width < (TEXT_WIDTH + COLUMN_WIDTH) / 2


def get_character_width(width: float) -> float:
    """Inches of a character in a figure so wide."""
    return CHARACTER * (COLUMN_FONT_SIZE if is_column(width) else FONT_SIZE) / FONT_SIZE


def get_line_height(width: float) -> float:
    """Inches of a line of text in a figure so wide."""
    return 1.4 / 72 * (COLUMN_FONT_SIZE if is_column(width) else FONT_SIZE)


def get_colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def get_marker(index: int) -> str:
    """Beside the colour, and the one thing that tells the ninth series from the first."""
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
        if sum(n * get_character_width(width) + HANDLE for n in longest) <= width:
            return columns
    return 1


def wrap_name(name: str, most: int) -> str:
    """The name in lines of at most `most` characters, broken after a separator where there is one."""
    lines, line = [], ""
    for part in re.findall(r"[^:,=/_ -]*[:,=/_ -]?", name):
        if line and len(line) + len(part.rstrip()) > most:
            lines.append(line)
            line = ""
        line += part
        while len(line) > most and line.strip():
            lines.append(line[:most])
            line = line[most:]
    return "\n".join(text.strip() for text in [*lines, line] if text.strip()) or name


def wrap_lines(text: str, most: int) -> str:
    """Each line of the text wrapped as a name."""
    return "\n".join(wrap_name(line, most) for line in text.split("\n"))


def wrap_text(text: str, inches: float, width: float) -> str:
    """The text in lines that are at most `inches` long, in a figure of `width` inches."""
    return textwrap.fill(text, max(8, int(inches / get_character_width(width))))


def wrap_names(names: Sequence[str], width: float) -> list[str]:
    """The names as labels beside an axis of a figure so wide."""
    most = int(MAX_NAME_SHARE * width / get_character_width(width))
    return [wrap_name(name, most) for name in names]


def list_half_widths(estimates: Sequence[Estimate]) -> list[float]:
    return [value.half or 0.0 for value in estimates]


def join_names(names: Sequence[str], most: int = 6) -> str:
    """'a, b and c', or the first few and how many more: for alternative texts."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
