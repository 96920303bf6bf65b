"""Cells without a score."""

from __future__ import annotations

from reports.document import LinkedText, Table, truncate_table
from reports.frames import Grid, format_seeds
from reports.registered import SuiteContext, report_table


@report_table("failures", place=10, topic="stability")
def build(context: SuiteContext) -> Table | None:
    """The first of them; cells.csv has all."""
    table = build_failure_table(context.grid)
    return table and truncate_table(table, "cells")


def build_failure_table(grid: Grid) -> Table | None:
    """Cells without a score, with the reason."""
    rows = [
        (
            LinkedText(task, task=task),
            LinkedText(method, method=method),
            format_seeds(r.cell.seeds),
            r.status,
            r.reason or "",
        )
        for (task, method), group in grid.cells.items()
        for r in group
        if r.status != "ok"
    ]
    return Table("Cells without a score", ("task", "method", "seeds", "status", "reason"), rows) if rows else None
