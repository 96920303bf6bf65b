"""What a search of so many trials finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.core.record import Tuned
from reports.document import Drawing
from reports.plots.style import colour, legend, listed, marker, new_figure
from reports.tuning import curve

WIDEST = 3
"""Panels side by side."""


def budgets(suite: str, tuned: Sequence[Tuned]) -> Drawing | None:
    """Expected best validation score against the number of trials: one panel per task, one line per method."""
    own = [t for t in tuned if t.suite == suite]
    if not any(t.best is not None for t in own):
        return None
    methods = list(dict.fromkeys(t.method for t in own))
    places = list(dict.fromkeys(", ".join(t.tasks) for t in own))
    columns = min(WIDEST, len(places))
    rows = math.ceil(len(places) / columns)
    figure = new_figure(0.8 + 2.6 * columns, 0.9 + 2.1 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, place in zip(panels, places, strict=False):
        for one in (t for t in own if ", ".join(t.tasks) == place and t.best is not None):
            i, values = methods.index(one.method), curve(one)
            axes.plot(range(1, len(values) + 1), values, color=colour(i), marker=marker(i), ms=3.5, label=one.method)
        axes.set_title(place)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("trials")
    for axes in panels[len(places) :]:
        axes.set_axis_off()
    panels[0].set_ylabel("points")
    legend(figure, panels[0])
    alt = (
        f"Lines of the best validation score to expect against the number of trials, for {listed(methods)} on "
        f"{listed(places, 10)}; the values are in the table of budgets."
    )
    return Drawing(figure, "Best validation score to expect, by number of trials (arXiv 1909.03004)", alt)
