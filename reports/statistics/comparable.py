"""What two groups of cells must share to be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.record import Record

SHARED: Mapping[str, Callable[[Cell], str]] = {
    "protocol": lambda cell: cell.protocol.name,
    "model": lambda cell: cell.model.content[:12],
    "data": lambda cell: cell.data[:12],
    "suite version": lambda cell: str(cell.suite_version),
}
"""Field -> its value as shown. Budget, batch or precision may differ: the methods' names then say so (see frames)."""


def check_comparable(records: Sequence[Record], what: str) -> None:
    """Raise UserError naming the field in which cells of one task differ."""
    by_task: dict[str, list[Record]] = {}
    for record in records:
        by_task.setdefault(record.cell.task, []).append(record)
    for task, task_records in by_task.items():
        check_shared(task, [collect_shared(task_records)], what)


def collect_shared(records: Iterable[Record]) -> dict[str, list[str]]:
    """Field -> the values of some cells of one task, each once, in the order of the cells."""
    cells = [record.cell for record in records]
    return {field: list(dict.fromkeys(map(shown, cells))) for field, shown in SHARED.items()}


def check_shared(task: str, groups: Sequence[Mapping[str, Sequence[str]]], what: str) -> None:
    """Raise UserError naming a field of which groups of cells (see `collect_shared`) have more than one value."""
    for field in SHARED:
        # in the order of the groups, so that the message names the first method's value first
        values = dict.fromkeys(value for group in groups for value in group[field])
        if len(values) > 1:
            raise UserError(
                f"{what} on {task} is no comparison: {field} differs ({', '.join(values)}); give cells of one {field}"
            )
