"""What a search of so many trials finds."""

from __future__ import annotations

from reports.document import Drawing
from reports.plots.curves import CURVE_ROW
from reports.plots.panels import MAX_PANELS, Curve, create_panels, draw_curve_rows
from reports.plots.scores import describe_omitted
from reports.plots.style import join_names
from reports.registered import SuiteContext, report_figure
from reports.tuning import compute_budget_curve


@report_figure("budgets", place=90, topic="tuning", chart="budgets")
def draw_budgets(context: SuiteContext) -> Drawing | None:
    """Expected best validation score against the number of trials: one panel per search's tasks, one row a method."""
    searches = [t for t in context.tuned if t.suite == context.grid.suite and t.best is not None]
    if not searches:
        return None
    methods = list(dict.fromkeys(t.method for t in searches))
    places = list(dict.fromkeys(", ".join(t.tasks) for t in searches))
    shown = places[:MAX_PANELS]
    curves = {(", ".join(t.tasks), t.method): list(enumerate(compute_budget_curve(t), start=1)) for t in searches}
    ranges = {place: [v for (at, _), curve in curves.items() if at == place for _, v in curve] for place in shown}
    titles = [f"{place}\n{min(ranges[place]):.0f} to {max(ranges[place]):.0f}" for place in shown]
    panels = create_panels(context.figure_width, methods, titles, CURVE_ROW)
    for axes, place in zip(panels.axes, shown, strict=True):
        rows: list[Curve] = [curves.get((place, method), []) for method in methods]
        draw_curve_rows(panels, axes, rows, min(ranges[place]), max(ranges[place]))
    panels.label("trials")
    alt = (
        f"Lines of the best validation score to expect against the number of trials, for {join_names(methods)} on "
        f"{join_names(shown, 10)}; the values are in the table of budgets."
    )
    caption = "Best validation score to expect, by number of trials (arXiv 1909.03004); each row spans the points that "
    return Drawing(panels.figure, f"{caption}its title names; grey: {methods[0]}{describe_omitted(places)}", alt)
