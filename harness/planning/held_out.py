"""`--validation`: score each cell on a part of its train rows too, for choices that must not see the eval splits.

train rows ──> 80 % to train on | 20 %, at most 1,000: split `train_heldout`, scores `accuracy_heldout`, ...
eval splits ──> scored as ever
"""

from __future__ import annotations

import dataclasses
import hashlib

from harness.core.errors import UserError
from harness.core.method import Suite, Task, TaskData
from harness.core.metric import HELD_OUT, resolve_metric
from harness.data.checks import describe_overlaps
from harness.data.holdout import MOST, SEED, SHARE, split_train_rows
from harness.planning.planned_cell import PlannedCell


class HeldOut:
    """Adds the validation part of the train rows to planned cells, as one more eval split, `HELD_OUT`.

    Cells of a task that train on equal rows share the part and its fingerprint.
    """

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str, str, int | None, int | None], tuple[Suite, TaskData]] = {}

    def add(self, planned: PlannedCell) -> PlannedCell:
        """The cell that trains on the rest of the train rows and is scored on the part too. Raises UserError."""
        cell = planned.cell
        limits = cell.protocol.train_rows, cell.protocol.eval_rows
        place = (cell.suite, cell.task, cell.data, *limits)
        if place not in self._parts:
            data = _add_split(planned.task, planned.data, *limits)
            self._parts[place] = _score_held_out(planned.suite, planned.task, data), data
        suite, data = self._parts[place]
        return dataclasses.replace(
            planned, cell=cell.model_copy(update={"data": data.fingerprint}), suite=suite, data=data
        )


def _add_split(task: Task, data: TaskData, rows: int | None, most: int | None) -> TaskData:
    training_part, part = split_train_rows(task, data, rows, most)
    splits = {**data.splits, "train": training_part, HELD_OUT: part}
    text = f"{data.fingerprint} and validation part of {rows} rows: {SHARE} {most or MOST} {SEED}"
    note = f"{len(part)} of {len(part) + len(training_part)} train rows are a validation part: scored, not trained on"
    # a row of the part that is trained on too, as a duplicate, makes its score too high
    overlaps = describe_overlaps(dataclasses.replace(data, splits={"train": training_part, HELD_OUT: part}))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return dataclasses.replace(data, splits=splits, fingerprint=digest, notes=(*data.notes, note, *overlaps))


def _score_held_out(suite: Suite, task: Task, data: TaskData) -> Suite:
    """The suite with the validation part as an eval split of the task. Raises UserError for a suite that cannot."""
    if task.kind != "classification" or suite.evaluator(task.name, data) is not None:
        raise UserError(
            f"--validation: suite {suite.name} does not score row by row with the metrics of a class or number;"
            " leave it out"
        )
    first = task.eval_splits[0]
    metrics = [resolve_metric(name, task.eval_splits) for name in task.metrics]
    held_out = tuple(f"{metric.name}_heldout" for metric, split in metrics if split == first)
    changed = dataclasses.replace(
        task, eval_splits=(*task.eval_splits, HELD_OUT), metrics=(*task.metrics, *dict.fromkeys(held_out))
    )
    return suite.with_tasks({**suite.tasks, task.name: changed}, suite.averages)
