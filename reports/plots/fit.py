"""The picture of `fit`: predicted peak memory against model size, with the memory of GPUs and measured steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reports.plots.style import GREY, TEXT_WIDTH, add_legend, create_figure, freeze_layout, get_colour, get_marker

if TYPE_CHECKING:
    from harness.profiling.fit import FitRow, Measured

GIB = 2**30
DASHES = ("-", "--", ":", "-.")
"""Lines of checkpointing, by the order in which it appears."""


def draw_fit(rows: Sequence[FitRow], memory: Sequence[int], measured: Sequence[Measured], kind: str) -> bytes:
    """An image of one line per method, precision and checkpointing, at the least batch size and length.

    Measured steps of these shapes and methods are crosses; they have batch sizes and lengths of their own.
    """
    from reports.document import Drawing
    from reports.figures import render_image, use_style

    with use_style(TEXT_WIDTH):
        figure = create_figure(TEXT_WIDTH, 4.2)
        axes = figure.subplots()
        batch = min(min(row.peaks) for row in rows if row.peaks) if any(row.peaks for row in rows) else 1
        length = min(row.length for row in rows)
        _draw_lines(axes, [row for row in rows if row.length == length and batch in row.peaks], batch)
        _draw_measured(axes, rows, measured)
        _draw_memory(axes, memory)
        axes.set(xscale="log", yscale="log", xlabel="parameters of the model", ylabel="peak memory, GiB")
        _label_shapes(axes, rows)
        axes.set_title(f"Predicted peak of a training step, batch {batch}, {length} tokens per row")
        add_legend(figure, axes)
        freeze_layout(figure)
        return render_image(Drawing(figure, "", ""), kind)


def _draw_lines(axes: Any, rows: Sequence[FitRow], batch: int) -> None:
    lines: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for row in rows:
        name = row.method, row.precision, row.checkpointing
        lines.setdefault(name, []).append((row.parameters, row.peaks[batch] / GIB))
    colours = list(dict.fromkeys(name[:2] for name in lines))
    dashes = list(dict.fromkeys(name[2] for name in lines))
    for name, points in lines.items():
        i, j = colours.index(name[:2]), dashes.index(name[2])
        label = f"{name[0]} {name[1]}" + ("" if name[2] == "none" else f", checkpointing {name[2]}")
        x, y = zip(*sorted(points), strict=True)
        style = {"color": get_colour(i), "marker": get_marker(i), "linestyle": DASHES[j % len(DASHES)]}
        axes.plot(x, y, markersize=4, linewidth=1.2, label=label, **style)


def _draw_measured(axes: Any, rows: Sequence[FitRow], measured: Sequence[Measured]) -> None:
    """A cross at each measured peak of a shape and method of the rows, with the batch and length that it was of."""
    sizes = {row.shape: row.parameters for row in rows}
    methods = {row.method for row in rows}
    labelled: set[str] = set()
    for step in measured:
        if step.model in sizes and step.method in methods:
            label = f"measured, {step.batch} rows of {step.length} tokens"
            point = [sizes[step.model]], [step.measured / GIB]
            axes.plot(*point, "kx", markersize=6, label=label if label not in labelled else "_")
            labelled.add(label)


def _draw_memory(axes: Any, memory: Sequence[int]) -> None:
    for size in memory:
        axes.axhline(size, color=GREY, linewidth=0.8, zorder=0)
        place = {"xy": (1, size), "xycoords": axes.get_yaxis_transform(), "xytext": (3, 0)}
        axes.annotate(f"{size} GiB", **place, textcoords="offset points", color=GREY, va="center", fontsize=7)


def _label_shapes(axes: Any, rows: Sequence[FitRow]) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter

    sizes = {row.parameters: row.shape for row in rows}
    axes.set_xticks(list(sizes), [f"{name}\n{count / 1e9:.3g} billion" for count, name in sizes.items()])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
