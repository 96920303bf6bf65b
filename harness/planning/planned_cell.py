"""A cell together with all that its training needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from harness.core.cell import Cell
from harness.core.method import Method, Suite, Task, TaskData
from harness.models.adapter_source import AdapterSource
from harness.models.source import ModelSource


@dataclasses.dataclass(frozen=True, eq=False)
class PlannedCell:
    """One run to make. Cells of a task share the objects that they have in common.

    cell      what is trained; its key is the hash of all that can change the result
    method    the method with its options
    suite     what loads and scores the task
    data      the task's rows
    source    the model's files
    start     the adapter that training starts from, if any
    named     whether the user asked for this cell by name, not as one of a product or of `all`
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
        """Training rows, under the protocol's limit."""
        return limit_rows(len(self.data.splits["train"]), self.cell.protocol.train_rows)

    @property
    def eval_rows(self) -> int:
        """Rows of all eval splits together, under the protocol's limit for each."""
        limit = self.cell.protocol.eval_rows
        return sum(limit_rows(len(self.data.splits[split]), limit) for split in self.task.eval_splits)


def limit_rows(rows: int, limit: int | None) -> int:
    return rows if limit is None else min(rows, limit)


def first_of_each_task(cells: Iterable[PlannedCell]) -> Mapping[tuple[str, str], PlannedCell]:
    """The first cell of each (suite, task), in order."""
    firsts: dict[tuple[str, str], PlannedCell] = {}
    for planned in cells:
        firsts.setdefault((planned.cell.suite, planned.cell.task), planned)
    return firsts
