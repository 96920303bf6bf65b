"""A cell together with everything that its training needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from harness.core.cell import Cell
from harness.core.method import Method, Suite, Task, TaskData
from harness.models.adapter_source import AdapterSource
from harness.models.source import ModelSource


@dataclasses.dataclass(frozen=True, eq=False)
class PlannedCell:
    """One cell to train. Cells of a task share the objects that they have in common.

    cell      description of the cell; its key is the hash of everything that can change the result
    method    the method with its options
    suite     the suite that loads and scores the task
    data      the task's rows
    source    the model's files
    start     the adapter that training starts from, if any
    named     whether the user named this cell; otherwise it comes from a product of options or from `all`

    eq=False: planned cells are compared by identity, because comparing rows and models would take long.
    """

    cell: Cell
    method: Method
    suite: Suite
    data: TaskData
    source: ModelSource
    start: AdapterSource | None = None
    named: bool = False

    @property
    def key(self) -> str:
        return self.cell.key

    @property
    def task(self) -> Task:
        return self.suite.tasks[self.cell.task]

    @property
    def train_rows(self) -> int:
        """Number of training rows, limited by the protocol."""
        return limit_rows(len(self.data.splits["train"]), self.cell.protocol.train_rows)

    @property
    def eval_rows(self) -> int:
        """Number of rows in all eval splits together; the protocol limits each split."""
        limit = self.cell.protocol.eval_rows
        return sum(limit_rows(len(self.data.splits[split]), limit) for split in self.task.eval_splits)


def limit_rows(rows: int, limit: int | None) -> int:
    """The smaller of a number of rows and its limit, if there is one."""
    return rows if limit is None else min(rows, limit)


def first_of_each_task(cells: Iterable[PlannedCell]) -> Mapping[tuple[str, str], PlannedCell]:
    """(suite, task) -> its first cell, in the order of the cells."""
    firsts: dict[tuple[str, str], PlannedCell] = {}
    for planned in cells:
        firsts.setdefault((planned.cell.suite, planned.cell.task), planned)
    return firsts
