"""How each kind of task trains and predicts, one kind a file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.core.method import TaskKind
    from harness.data.task_types.base import TaskType


def load_task_type(kind: TaskKind) -> TaskType:
    """The task type called `kind`: the constant TASK_TYPE of the module of that name, imported when first asked for."""
    instance: TaskType = importlib.import_module(f"harness.data.task_types.{kind}").TASK_TYPE
    return instance
