"""The rows that each task was trained and scored on."""

from __future__ import annotations

from harness.core.record import Record
from reports.compare import task_headline
from reports.document import LinkedText, Table
from reports.frames import Grid
from reports.registered import SuiteContext, report_table


@report_table("data", place=90, topic="data")
def build(context: SuiteContext) -> Table | None:
    """Rows by split, metric, majority baseline and source of each task; None where no record counts its rows."""
    grid = context.grid
    if not any(record.rows for record in grid.records):
        return None
    splits = list(dict.fromkeys(split for record in grid.records for split in record.rows))
    rows = [_build_row(grid, task, splits) for task in grid.tasks]
    return Table("Data", ("task", *splits, "metric", "majority baseline", "source", "notes"), rows)


def _build_row(grid: Grid, task: str, splits: list[str]) -> tuple[str, ...]:
    records = grid.select_task(task)
    majority = next((record.majority for record in records if record.majority is not None), None)
    return (
        LinkedText(task, task=task),
        *(_format_counts(records, split) for split in splits),
        " + ".join(task_headline(grid, task, grid.averages[0])),
        "" if majority is None else f"{majority:.1f}",
        ", ".join(dict.fromkeys(record.data_source for record in records if record.data_source)),
        # cells of a task mostly have the same notes
        "; ".join(dict.fromkeys(note for record in records for note in record.data_notes)),
    )


def _format_counts(records: list[Record], split: str) -> str:
    """The rows of a split; two numbers where runs differ."""
    counts = dict.fromkeys(record.rows[split] for record in records if split in record.rows)
    return ", ".join(f"{count:,}" for count in counts)
