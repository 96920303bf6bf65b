"""Figure of a surface: eval score against learning rate, one panel a task, one line a method with a band."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reports.document import Drawing
from reports.figures import use_style
from reports.plots.style import GREY, MARKERS, PALETTE, TEXT_WIDTH, freeze_layout, join_names

if TYPE_CHECKING:
    import pandas as pd

PANEL_HEIGHT, COLUMNS = 2.1, 3
MOST_TICKS, LEGEND_COLUMNS = 4, 3
MOST_METHODS = 8
"""More lines than colours cannot be told apart: the others are in the table."""


def draw_figures(runs: pd.DataFrame) -> dict[str, Drawing]:
    """Name -> figure of a table of runs, in the style of the other reports."""
    with use_style(TEXT_WIDTH):
        drawing = draw_surface(runs)
        if drawing is not None:
            freeze_layout(drawing.figure)
    return {} if drawing is None else {"surface": drawing}


def draw_surface(runs: pd.DataFrame) -> Drawing | None:
    """Mean score of the search over rates, with a band of one standard error; the most common batch and budget."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    search = runs[(runs["stage"] == "search") & runs["score"].notna()]
    if search.empty:
        return None
    batch, budget = search.groupby(["batch_size", "budget"]).size().idxmax()
    search = search[(search["batch_size"] == batch) & (search["budget"] == budget)]
    tasks, methods = list(dict.fromkeys(search["task"])), list(dict.fromkeys(search["method"]))[:MOST_METHODS]
    columns = min(COLUMNS, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    figure = Figure(figsize=(TEXT_WIDTH, PANEL_HEIGHT * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, task in zip(panels, tasks, strict=False):
        own = search[search["task"] == task]
        for number, method in enumerate(methods):
            table = own[own["method"] == method].groupby("lr")["score"].agg(["mean", "std", "count"])
            error = (table["std"] / table["count"] ** 0.5).fillna(0.0)
            style = {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}
            panel.plot(table.index, table["mean"], linewidth=1.2, markersize=3.5, label=method, **style)
            panel.fill_between(
                table.index, table["mean"] - error, table["mean"] + error, color=style["color"], alpha=0.15, linewidth=0
            )
        if own["majority"].notna().any():
            panel.axhline(own["majority"].median(), color=GREY, linewidth=0.8, linestyle=":")
        panel.set(xscale="log", title=task)
        rates = sorted(set(own["lr"]))
        ticks = rates[:: -(-len(rates) // MOST_TICKS)]
        panel.set_xticks(ticks, [f"{rate:g}" for rate in ticks])
        panel.xaxis.set_minor_locator(NullLocator())
    for panel in panels[len(tasks) :]:
        panel.remove()
    figure.supxlabel("peak learning rate", fontsize="medium")
    figure.supylabel("score in points", fontsize="medium")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=min(LEGEND_COLUMNS, len(labels)))
    caption = (
        f"Score against learning rate: mean over the seeds of the search, band: one standard error; batches of {batch}"
        f" rows, {budget}; dotted: the majority baseline."
    )
    alt = f"Score of {join_names(methods)} by learning rate, one panel for each of {join_names(tasks, 10)}."
    return Drawing(figure, caption, alt)
