"""What every registered suite must do, task by task, on the data that ships with the package."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from harness.core.errors import CellFailed, UserError
from harness.core.method import SUITES, SourceRequest, Suite, Task, TaskData

# tasks of other kinds have tests of their own
CASES = [(suite, name) for suite, kind in SUITES for name, task in kind.tasks.items() if task.kind == "classification"]
WITH_TASKS = [name for name, kind in SUITES if kind.tasks]  # others learn theirs from the user's files
each_task = pytest.mark.parametrize(("suite", "task"), CASES)
each_classification = pytest.mark.parametrize(
    ("suite", "task"), [(s, t) for s, t in CASES if SUITES.get(s).tasks[t].kind == "classification"]
)
LOWER_IS_BETTER = {"ter"}


@functools.cache
def loaded(suite: str, task: str) -> tuple[Suite, Task, TaskData]:
    made = SUITES.get(suite)()
    return made, made.tasks[task], made.load(task, SourceRequest("embedded"))


def targets(task: Task, data: TaskData, split: str) -> np.ndarray:
    kind = object if task.kind == "translation" else np.int64 if task.labels else np.float64
    return np.array([row.label for row in data.splits[split]], dtype=kind)


@each_task
def test_embedded_rows_are_enough_and_well_formed(suite: str, task: str) -> None:
    _, asked, data = loaded(suite, task)
    assert set(data.splits) == {"train", *asked.eval_splits}
    assert len(data.splits["train"]) >= 500
    least = 400 if asked.kind == "classification" else 300
    assert sum(len(data.splits[split]) for split in asked.eval_splits) >= least
    rows = [row for split in data.splits.values() for row in split]
    assert len({row.id for row in rows}) == len(rows)
    assert all(all(row.texts) and len(row.texts) == len(rows[0].texts) for row in rows)
    assert data.notes == ()


@each_task
def test_labels_are_in_range_and_each_is_used(suite: str, task: str) -> None:
    _, asked, data = loaded(suite, task)
    for split in data.splits:
        labels = targets(asked, data, split)
        if asked.kind == "translation":
            assert all(isinstance(text, str) and text.strip() for text in labels)
        elif asked.labels:
            assert set(labels.tolist()) == set(range(asked.outputs))
        else:
            assert np.all(np.isfinite(labels)) and np.ptp(labels) > 0


@each_task
def test_no_eval_text_is_in_train(suite: str, task: str) -> None:
    _, asked, data = loaded(suite, task)
    seen = {row.texts for row in data.splits["train"]}
    assert not any(row.texts in seen for split in asked.eval_splits for row in data.splits[split])


@each_task
def test_fingerprint_is_the_same_when_loaded_again(suite: str, task: str) -> None:
    made, _, data = loaded(suite, task)
    assert len(data.fingerprint) == 64
    assert made.load(task, SourceRequest("embedded")).fingerprint == data.fingerprint


@each_task
def test_perfect_predictions_score_100_in_each_metric(suite: str, task: str) -> None:
    made, asked, data = loaded(suite, task)
    scores: dict[str, float] = {}
    for split in asked.eval_splits:
        true = targets(asked, data, split)
        scores |= made.score(task, split, true.copy(), true)
    assert tuple(scores) == asked.metrics
    best = {name: 0.0 if name in LOWER_IS_BETTER else 100.0 for name in scores}
    assert scores == pytest.approx(best, abs=1e-9)
    headlines = [made.headline(task, scores, average) for average in made.averages if task in average.scores]
    assert all(value == pytest.approx(100.0, abs=1e-9) for value in headlines)


@each_classification
def test_constant_predictions_are_no_nan_and_the_best_is_the_majority(suite: str, task: str) -> None:
    made, asked, data = loaded(suite, task)
    best = 0.0
    for constant in range(asked.outputs):
        scores: list[float] = []
        for split in asked.eval_splits:
            true = targets(asked, data, split)
            scores += made.score(task, split, np.full_like(true, constant), true).values()
        assert all(math.isfinite(value) and 0 <= value < 100 for value in scores)
        best = max(best, sum(scores) / len(scores))
    assert made.majority(task, data) == pytest.approx(best)


@each_classification
def test_predictions_that_are_not_finite_fail_the_cell(suite: str, task: str) -> None:
    made, asked, data = loaded(suite, task)
    true = targets(asked, data, asked.eval_splits[0]).astype(float)
    with pytest.raises(CellFailed, match="not finite"):
        made.score(task, asked.eval_splits[0], np.full_like(true, np.nan), true)


@pytest.mark.parametrize("suite", WITH_TASKS)
def test_averages_name_scores_that_the_tasks_give(suite: str) -> None:
    made = SUITES.get(suite)()
    assert made.averages
    for average in made.averages:
        assert all(set(names) <= set(made.tasks[task].metrics) for task, names in average.scores.items())


@pytest.mark.parametrize("suite", WITH_TASKS)
def test_a_wrong_task_name_gets_the_nearest(suite: str) -> None:
    made = SUITES.get(suite)()
    task = next(iter(made.tasks))
    with pytest.raises(UserError, match=f"did you mean '{task}'"):
        made.load(task + "x", SourceRequest("embedded"))
    with pytest.raises(UserError, match=r"unknown eval split .* 'train'"):
        made.score(task, "train", np.zeros(1), np.zeros(1))
