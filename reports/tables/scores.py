"""Scores by task and method, and their mean over tasks."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.record import Record
from reports.cells import MAX_COLUMNS, build_method_heads, format_average, format_cell
from reports.compare import Coverage, estimate_task, find_coverage, task_headline
from reports.document import LinkedText, Table, transpose_table
from reports.frames import Grid, get_seeds
from reports.registered import SuiteContext, report_table
from reports.statistics.comparisons import NEW_SEEDS
from reports.statistics.shared_seeds import describe_streams


@report_table("scores", place=20, topic="scores")
def build_first_average(context: SuiteContext) -> Table:
    """The scores of the suite's first average."""
    return build_score_table(context.grid, context.grid.averages[0])


@report_table("scores of other averages", place=40, topic="scores")
def build_other_averages(context: SuiteContext) -> list[Table]:
    """The scores of each further average."""
    return [build_score_table(context.grid, name) for name in context.grid.averages[1:]]


def build_score_table(grid: Grid, average: str) -> Table:
    """Task x method: mean over seeds with its interval, the best constant prediction, and the mean over tasks."""
    cover = find_coverage(grid, average)
    partial = {record.cell.task for record in grid.records if record.data_notes}
    rows, alone = [], False
    for task in grid.tasks:
        metrics = task_headline(grid, task, average)
        name = LinkedText(f"{task}†" if task in partial else task, task=task)
        baseline = (
            _find_majority_baseline(grid, task) if metrics == task_headline(grid, task, grid.averages[0]) else None
        )
        estimates = [estimate_task(grid, task, m, average) for m in grid.methods]
        alone |= any(value is not None and value.n == 1 for value in estimates)
        cells = [format_cell(grid, task, m, value) for m, value in zip(grid.methods, estimates, strict=True)]
        outside = "" if task in grid.list_tasks(average) else " (not in the average)"
        best = "-" if baseline is None else f"{baseline:.1f}"
        rows.append((name, " + ".join(metrics) + outside, best, *cells))
    means = [format_average(grid, m, cover) for m in grid.methods]
    # the last row, which the page keeps at the end when readers sort
    label = LinkedText(cover.label, total=True)
    rows.append((label, ", ".join(cover.tasks) if not cover.full else average, "", *means))
    notes = [
        f"Points (0 to 100; correlations times 100): mean over seeds ± half of the 95 % t-interval for {NEW_SEEDS}."
    ]
    notes += list_seed_notes(grid)
    # only tasks with a dagger; all others were read as they are
    notes += [f"† {task}: {note}" for task in sorted(partial) for note in _list_data_notes(grid.select_task(task))]
    notes += _list_coverage_notes(cover)
    if alone:
        notes.append(ONE_SEED_NOTE)
    head = ("task", "score", "constant", *build_method_heads(grid.methods))
    table = Table(f"Scores, average '{average}'", head, rows, notes)
    return transpose_table(table, 3, "method") if len(grid.methods) > MAX_COLUMNS else table


def list_seed_notes(grid: Grid) -> list[str]:
    """Which streams have seeds of their own, where not all move together."""
    varied = (describe_streams(map(get_seeds, records)) for records in grid.cells.values())
    stream_names = dict.fromkeys(filter(None, varied))
    if not stream_names:
        return []
    summary = "; ".join(stream_names)
    return [
        f"Seeds vary by stream ({summary}): intervals are for new seeds of these, other streams held. Runs that "
        "share a seed are not independent, and the intervals count that (random effects)."
    ]


def _find_majority_baseline(grid: Grid, task: str) -> float | None:
    """The best constant prediction's score, which records have of the suite's first average only."""
    return next((r.majority for r in grid.select_task(task) if r.majority is not None), None)


ONE_SEED_NOTE = (
    "A value without ± is of one run: one value has no spread to make an interval of. More seeds (--seeds) give one."
)


def _list_data_notes(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(note for record in records for note in record.data_notes))


def _list_coverage_notes(cover: Coverage) -> list[str]:
    if cover.full:
        return []
    why = "; ".join(f"{task}: {reason}" for task, reason in cover.missing.items())
    return [f"Not the average that papers publish: {why}."]
