"""What two groups of cells must share to be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
    by_task: dict[str, list[Cell]] = {}
    for record in records:
        by_task.setdefault(record.cell.task, []).append(record.cell)
    for task, cells in by_task.items():
        for field, shown in SHARED.items():
            # in the order of the cells, so that the message names the first method's value first
            values = dict.fromkeys(shown(cell) for cell in cells)
            if len(values) > 1:
                raise UserError(
                    f"{what} on {task} is no comparison: {field} differs ({', '.join(values)}); "
                    f"give cells of one {field}"
                )
