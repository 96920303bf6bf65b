"""Hold out a validation part of the train rows, for choices that must not see the official dev set.

train rows --first `rows` of the shuffle--> 80 % to train on | 20 %, at most 1,000, in place of the first eval split
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from harness.core.errors import UserError
from harness.core.method import Example, Suite, Task, TaskData
from harness.core.metric import resolve_metric
from harness.data.checks import describe_overlaps
from harness.data.row_limit import select_rows

SHARE, MOST, SEED = 0.2, 1000, 0
FEWEST = 5
"""Minimum of train rows: a fifth of fewer rounds to no row."""


def hold_out(task: Task, data: TaskData, rows: int | None = None, most: int | None = None) -> TaskData:
    """The task's data with a part of the train rows in place of its first eval split; the rest stays to train on.

    `rows` limits the train rows as the run does; `most` limits the part, where the run limits eval rows. The result has
    no eval row. Raises UserError for too few rows.
    """
    training_part, part = split_train_rows(task, data, rows, most)
    text = f"{data.fingerprint} validation part of {rows} rows: {SHARE} {most or MOST} {SEED}"
    # A new fingerprint keeps trials and final cells apart: their keys differ although the files are equal.
    split_data = TaskData(
        {"train": training_part, task.eval_splits[0]: part}, hashlib.sha256(text.encode()).hexdigest(), data.source
    )
    note = f"tuning: {len(part)} of {len(part) + len(training_part)} train rows are the validation part"
    return dataclasses.replace(split_data, notes=(note, *describe_overlaps(split_data)))


def split_train_rows(
    task: Task, data: TaskData, rows: int | None = None, most: int | None = None
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """(rows to train on, validation part) of the train rows; limits as in `hold_out`. Raises UserError."""
    # The limit on train rows comes first: a tuned cell must not see rows that the run itself would not train on.
    train = select_rows(data.splits["train"], rows, "train")
    if len(train) < FEWEST:
        raise UserError(
            f"{task.name}: {len(train)} train rows are too few to hold out a validation part; {FEWEST} at least"
        )
    validation_numbers = set(select_held_out(train, min(MOST, most or MOST)).tolist())
    part = tuple(row for i, row in enumerate(train) if i in validation_numbers)
    return tuple(row for i, row in enumerate(train) if i not in validation_numbers), part


def limit_eval_splits(suite: Suite, name: str) -> Suite:
    """The suite with one eval split for a task: further splits would score the held-out part again."""
    task = suite.tasks[name]
    first = task.eval_splits[:1]
    metrics = tuple(metric for metric in task.metrics if resolve_metric(metric, task.eval_splits)[1] in first)
    scored = copy.copy(suite)
    scored.tasks = {**suite.tasks, name: dataclasses.replace(task, eval_splits=first, metrics=metrics)}
    return scored


def select_held_out(train: Sequence[Example], most: int = MOST) -> np.ndarray:
    """Numbers of the held-out rows, stratified: rows are shuffled, sorted by label, and taken at even steps."""
    order = np.random.default_rng(SEED).permutation(len(train))
    labels = [train[i].label for i in order]
    if not any(isinstance(label, str) for label in labels):
        order = order[np.argsort(np.array(labels, dtype=np.float64), kind="stable")]
    # A regression is sorted by its target too, so the held-out part covers the whole range.
    # Positions in the middle of equal steps through the sorted rows give every class its share.
    count = min(most, round(SHARE * len(train)))
    return np.asarray(order[((np.arange(count) + 0.5) * len(train) / count).astype(np.int64)])
