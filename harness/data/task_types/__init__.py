"""The kinds of tasks, one per file: how each becomes tensors, trains and predicts."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.core.method import TaskKind
    from harness.data.task_types.base import TaskType


def load_task_type(kind: TaskKind) -> TaskType:
    """The task type of a name: the constant TASK_TYPE of the module with that name, imported at the first call."""
    instance: TaskType = importlib.import_module(f"harness.data.task_types.{kind}").TASK_TYPE
    return instance
