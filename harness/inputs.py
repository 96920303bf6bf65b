"""All splits of a task as one model reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.record import Truncation
from harness.task_types import task_type
from harness.tokens import chosen_rows

if TYPE_CHECKING:
    from harness.cell import Protocol
    from harness.contracts import Task, TaskData
    from harness.task_types.base import Split


@dataclasses.dataclass
class Inputs:
    """The tokenised splits, with a count of what was cut, and the tokenizer that made them."""

    splits: Mapping[str, Split]
    truncation: Truncation
    tokenizer: Any

    @property
    def notes(self) -> tuple[str, ...]:
        """What tokenising made of the rows beside cutting them."""
        return tuple(note for split in self.splits.values() for note in split.notes)

    @property
    def rows(self) -> dict[str, int]:
        return {name: len(split) for name, split in self.splits.items()}


def read_inputs(tokenizer: Any, task: Task, data: TaskData, protocol: Protocol) -> Inputs:
    """Tokenise the train split and each eval split of a task."""
    kind = task_type(task.kind)
    splits = {}
    for name in ("train", *task.eval_splits):
        train = name == "train"
        rows = chosen_rows(data.splits[name], protocol.train_rows if train else protocol.eval_rows, name)
        splits[name] = kind.tokenise(tokenizer, task, rows, protocol, train=train)
    cut = {name: int(split.cut.sum()) for name, split in splits.items()}
    total = {name: len(split.cut) for name, split in splits.items()}
    return Inputs(splits, Truncation(rows=cut, total=total), tokenizer)
