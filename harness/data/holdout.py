"""A validation part carved from the train rows, for choices that must not see the official dev set."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from harness.core.errors import UserError
from harness.core.method import Example, Suite, Task, TaskData
from harness.data.checks import describe_overlaps

SHARE, MOST, SEED = 0.2, 1000, 0
FEWEST = 5
"""Train rows at least: a fifth of fewer is no row."""


def hold_out(task: Task, data: TaskData, rows: int | None = None, most: int | None = None) -> TaskData:
    """The task with its train rows in two: the rest to train on, and the part in the place of its first eval split.

    `rows`: only the train rows that a run limited to so many trains on; `most`: rows of the part, where a run scores
    so many at most. No eval row is in it. Raises UserError.
    """
    from harness.data.tokens import select_rows

    train = select_rows(data.splits["train"], rows, "train")
    if len(train) < FEWEST:
        raise UserError(
            f"{task.name}: {len(train)} train rows are too few to carve a validation part; {FEWEST} at least"
        )
    validation_numbers = set(select_held_out(train, min(MOST, most or MOST)).tolist())
    part = tuple(row for i, row in enumerate(train) if i in validation_numbers)
    training_part = tuple(row for i, row in enumerate(train) if i not in validation_numbers)
    text = f"{data.fingerprint} validation part of {rows} rows: {SHARE} {most or MOST} {SEED}"
    split_data = TaskData(
        {"train": training_part, task.eval_splits[0]: part}, hashlib.sha256(text.encode()).hexdigest(), data.source
    )
    note = f"tuning: {len(part)} of {len(train)} train rows are the validation part"
    return dataclasses.replace(split_data, notes=(note, *describe_overlaps(split_data)))


def limit_eval_splits(suite: Suite, name: str) -> Suite:
    """The suite with only the first eval split of a task: more of them would score the same part again."""
    task = suite.tasks[name]
    tasks = {**suite.tasks, name: dataclasses.replace(task, eval_splits=task.eval_splits[:1])}
    scored = copy.copy(suite)
    vars(scored)["tasks"] = tasks  # the instance has its own, the class keeps all
    return scored


def select_held_out(train: Sequence[Example], most: int = MOST) -> np.ndarray:
    """Numbers of the rows held out. Shuffled, sorted by label, taken at even steps: each class has its share."""
    order = np.random.default_rng(SEED).permutation(len(train))
    labels = [train[i].label for i in order]
    if not any(isinstance(label, str) for label in labels):
        order = order[np.argsort(np.array(labels, dtype=np.float64), kind="stable")]
    count = min(most, round(SHARE * len(train)))
    return np.asarray(order[((np.arange(count) + 0.5) * len(train) / count).astype(np.int64)])
