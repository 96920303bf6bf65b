"""What a search of so many trials finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.core.record import Tuned
from reports.document import Drawing
from reports.plots.style import add_legend, create_figure, get_colour, get_marker, join_names
from reports.registered import SuiteContext, report_figure
from reports.tuning import compute_budget_curve

MAX_PANEL_COLUMNS = 3
"""Panels side by side."""


def draw_budgets(suite: str, tuned: Sequence[Tuned]) -> Drawing | None:
    """Expected best validation score against the number of trials: one panel per task, one line per method."""
    searches = [t for t in tuned if t.suite == suite]
    if not any(t.best is not None for t in searches):
        return None
    methods = list(dict.fromkeys(t.method for t in searches))
    places = list(dict.fromkeys(", ".join(t.tasks) for t in searches))
    columns = min(MAX_PANEL_COLUMNS, len(places))
    rows = math.ceil(len(places) / columns)
    figure = create_figure(0.8 + 2.6 * columns, 0.9 + 2.1 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, place in zip(panels, places, strict=False):
        for one in (t for t in searches if ", ".join(t.tasks) == place and t.best is not None):
            i, values = methods.index(one.method), compute_budget_curve(one)
            axes.plot(
                range(1, len(values) + 1), values, color=get_colour(i), marker=get_marker(i), ms=3.5, label=one.method
            )
        axes.set_title(place)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("trials")
    for axes in panels[len(places) :]:
        axes.set_axis_off()
    panels[0].set_ylabel("points")
    add_legend(figure, panels[0])
    alt = (
        f"Lines of the best validation score to expect against the number of trials, for {join_names(methods)} on "
        f"{join_names(places, 10)}; the values are in the table of budgets."
    )
    return Drawing(figure, "Best validation score to expect, by number of trials (arXiv 1909.03004)", alt)


# ---------------------------------------------------------------- registration


@report_figure("budgets", place=90, topic="tuning", chart="budgets")
def _draw_budgets(context: SuiteContext) -> Drawing | None:
    return draw_budgets(context.grid.suite, context.tuned)
