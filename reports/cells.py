"""Estimates as the text of table cells, with the runs that each is made of."""

from __future__ import annotations

from collections.abc import Sequence

from reports.compare import Coverage, collect_metric, estimate_average
from reports.document import LinkedText
from reports.frames import Grid
from reports.statistics.shared_seeds import estimate_interval
from reports.statistics.student import Estimate

MAX_COLUMNS = 6
"""A table of more methods than this has them as its rows."""


def format_estimate(value: Estimate | None, sign: bool = False) -> str:
    """'84.2 ± 1.3', '84.2 (no spread)' of values that are all the same; '-' where there is nothing."""
    if value is None:
        return "-"
    mean = f"{value.mean:+.1f}" if sign else f"{value.mean:.1f}"
    # ± 0.0 would look like a very sure estimate
    if value.half == 0:
        return f"{mean} (no spread)"
    return mean if value.half is None else f"{mean} ± {value.half:.1f}"


def format_p(p: float | None) -> str:
    """'0.041', '< 0.001'; '' where there is no test."""
    return "" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"


def format_cell(grid: Grid, task: str, method: str, value: Estimate | None) -> LinkedText:
    """The estimate, with n where some of the method's cells have no score."""
    records = grid.of(task, method)
    return LinkedText(format_with_n(value, len(records)), runs=(r.key for r in records))


def format_with_n(value: Estimate | None, asked: int) -> str:
    """The estimate, with its n where that is not `asked`."""
    text = format_estimate(value)
    return f"{text} (n={value.n} of {asked})" if value and value.n != asked else text


def format_average(grid: Grid, method: str, cover: Coverage) -> LinkedText:
    """A method's mean over the tasks, with n where some of its seeds lack a score on one of them."""
    # the task with the most cells: fewer scores than that are to be seen as such
    cell_count = max((len(grid.of(task, method)) for task in cover.tasks), default=0)
    return LinkedText(
        format_with_n(estimate_average(grid, method, cover), cell_count), runs=list_run_keys(grid, method, cover.tasks)
    )


def format_metric(grid: Grid, task: str, method: str, metric: str) -> LinkedText:
    """A metric's mean, with n where some of the method's cells lack it."""
    return format_cell(grid, task, method, estimate_interval(collect_metric(grid, task, method, metric)))


def build_method_heads(methods: Sequence[str]) -> list[LinkedText]:
    """The methods as the heads of columns or rows."""
    return [LinkedText(method, method=method) for method in methods]


def list_run_keys(grid: Grid, method: str, tasks: Sequence[str]) -> list[str]:
    return [record.key for task in tasks for record in grid.of(task, method)]
