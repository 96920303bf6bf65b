"""Every metric of every task."""

from __future__ import annotations

from reports.cells import MAX_COLUMNS, build_method_heads, format_metric
from reports.document import LinkedText, Table, transpose_table
from reports.frames import Grid
from reports.registered import SuiteContext, report_table


@report_table("metrics", place=70, topic="scores")
def build(context: SuiteContext) -> Table:
    return build_metric_table(context.grid)


def build_metric_table(grid: Grid) -> Table:
    """Every official metric."""
    rows = []
    for task in grid.tasks:
        for metric in dict.fromkeys(name for r in grid.select_task(task) for name in r.scores):
            rows.append(
                (LinkedText(task, task=task), metric, *(format_metric(grid, task, m, metric) for m in grid.methods))
            )
    table = Table("Every metric", ("task", "metric", *build_method_heads(grid.methods)), rows)
    return transpose_table(table, 2, "method") if len(grid.methods) > MAX_COLUMNS else table
