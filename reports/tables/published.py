"""Published figures beside ours, in a table of their own that gives no ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.cells import format_average, format_metric
from reports.compare import Coverage, find_coverage
from reports.document import LinkedText, Table
from reports.frames import Grid
from reports.registered import SuiteContext, report_table

Row = Mapping[str, str]
"""A line of results/published.tsv."""
AVERAGE, OF_EIGHT = "average", "mean of the eight"
METRICS = {"matthews": "matthews_correlation"}
"""Published name of a metric -> ours, where they differ; MNLI's accuracy stands beside ours on the matched part."""
Column = tuple[str, str]
"""(task, metric of our records); of an average its name in our records."""


@report_table("published", place=50, topic="scores")
def build(context: SuiteContext) -> Table | None:
    return build_published_table(context.grid, context.published)


def build_published_table(grid: Grid, rows: Sequence[Row]) -> Table | None:
    """Our methods, then the published ones, over the metrics that both have; None where there is none.

    A published average has a column only where ours is over as many tasks.
    """
    ours = {(task, metric) for task in grid.tasks for r in grid.select_task(task) for metric in r.scores}
    stated = dict.fromkeys(get_column(row) for row in rows if row["task"] != AVERAGE)
    columns = sorted((c for c in stated if c in ours), key=lambda c: grid.tasks.index(c[0]))
    cover = _find_matching_average(grid)
    if cover is not None and any(row["metric"] == OF_EIGHT for row in rows):
        columns.append((AVERAGE, cover.average))
    if not columns:
        return None
    body = [_build_own_row(grid, method, columns) for method in grid.methods] + _build_other_rows(rows, columns)
    heads = [LinkedText(" ".join(c), task="" if c[0] == AVERAGE else c[0]) for c in columns]
    head = ("from", "model", "method", "trained", *heads)
    return Table("Published figures, beside this run", head, body, _list_notes(grid, rows, columns), sortable=False)


def get_column(row: Row) -> Column:
    name = row["metric"].partition(",")[0]
    return row["task"], "accuracy_matched" if row["task"] == "mnli" else METRICS.get(name, name)


def _find_matching_average(grid: Grid) -> Coverage | None:
    """Our average over all of eight tasks, if there is one; the last named is the one that follows a paper."""
    covers = [find_coverage(grid, name) for name in grid.averages]
    # papers leave out WNLI, so their mean of GLUE is over eight tasks
    return next((cover for cover in reversed(covers) if cover.full and len(cover.tasks) == 8), None)


def _build_own_row(grid: Grid, method: str, columns: Sequence[Column]) -> tuple[str, ...]:
    record = grid.select_method(method)[0]
    counts = next((r.parameters for r in grid.select_method(method) if r.parameters), None)
    trained = f"{counts.adapter_trained + counts.backbone_trained:,}" if counts else ""
    cells = []
    for task, metric in columns:
        if task == AVERAGE:
            cells.append(format_average(grid, method, find_coverage(grid, metric)))
        else:
            cells.append(format_metric(grid, task, method, metric))
    return ("this run", record.cell.model.name, LinkedText(method, method=method), trained, *cells)


def _build_other_rows(rows: Sequence[Row], columns: Sequence[Column]) -> list[tuple[str, ...]]:
    """One row per method of a source."""
    values_by_place: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in rows:
        place = (f"{row['source']}, arXiv {row['arxiv']}, {row['table']}", *(row[k] for k in ("model", "method")))
        task, metric = get_column(row)
        values_by_place.setdefault((*place, row["trainable_parameters"]), {}).setdefault(task, {})[metric] = row[
            "value"
        ]
    body = []
    for place, values in values_by_place.items():
        cells = [_get_value(values, task, metric) for task, metric in columns]
        if any(cell != "-" for cell in cells):
            body.append((*place, *cells))
    return body


def _get_value(values: Mapping[str, Mapping[str, str]], task: str, metric: str) -> str:
    of_task = values.get(task, {})
    return next(iter(of_task.values()), "-") if task == AVERAGE else of_task.get(metric, "-")


def _list_notes(grid: Grid, rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    notes = ["Published figures are of other models, data parts and budgets: they show a range, not a rank."]
    if any(r.stand_in for r in grid.records):
        notes.append("This run is on generated stand-ins: its numbers and the published ones have nothing in common.")
    protocols = dict.fromkeys(r.cell.protocol.name for r in grid.records if r.cell.protocol.name != "default")
    if protocols:
        mine = f"This run's protocol is {' and '.join(protocols)} (see its table)"
        notes.append(f"{mine}: what is said below of rates and budgets here is said of the default one.")
    if not any(task == AVERAGE for task, _ in columns) and any(row["task"] == AVERAGE for row in rows):
        notes.append("Published averages are left out: this run does not cover all of their tasks.")
    tasks = {task for task, _ in columns}
    sources = dict.fromkeys(
        (row["source"], row["protocol"], row["differences"]) for row in rows if row["task"] in tasks
    )
    return notes + [f"{source}: {protocol}. Unlike here: {differences}." for source, protocol, differences in sources]
