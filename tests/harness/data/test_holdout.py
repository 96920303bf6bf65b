"""The validation part: from train rows only, disjoint, stratified, always the same."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from harness.core.errors import UserError
from harness.core.method import Example, Task, TaskData
from harness.data.holdout import MOST, hold_out, limit_eval_splits
from harness.data.row_limit import select_rows
from suites.glue import Glue

TASK = Task("mnli", ("a", "b", "c"), ("validation_matched", "validation_mismatched"), ("accuracy",))


def rows(labels: list[int] | list[float] | list[str], name: str = "train") -> tuple[Example, ...]:
    return tuple(Example(f"{name}-{i}", (f"text {i}",), label) for i, label in enumerate(labels))


def data_of(labels: list[int] | list[float] | list[str]) -> TaskData:
    dev = rows([0, 1, 2] * 7, "dev")
    return TaskData({"train": rows(labels), **dict.fromkeys(TASK.eval_splits, dev)}, "f" * 64, "made up")


def skewed(count: int) -> list[int]:
    labels = [0] * (count * 7 // 10) + [1] * (count // 4)
    labels += [2] * (count - len(labels))
    random.Random(3).shuffle(labels)
    return labels


@pytest.mark.parametrize("count", [5, 97, 400, 12_001])
@pytest.mark.parametrize("limit", [None, 60])
def test_rest_and_part_are_the_train_rows_and_share_none(count: int, limit: int | None) -> None:
    data = data_of(skewed(count))
    made = hold_out(TASK, data, limit)
    rest, part = ({row.id for row in made.splits[name]} for name in ("train", "validation_matched"))
    trained = {row.id for row in select_rows(data.splits["train"], limit, "train")}
    assert rest | part == trained and not rest & part
    assert set(made.splits) == {"train", "validation_matched"}
    assert not (rest | part) & {row.id for row in data.splits["validation_matched"]}
    assert len(made.splits["validation_matched"]) == len(part) == min(MOST, round(len(trained) / 5))


def test_each_class_has_its_share() -> None:
    labels = skewed(400)
    held = Counter(row.label for row in hold_out(TASK, data_of(labels)).splits["validation_matched"])
    for label, count in Counter(labels).items():
        assert abs(held[label] - count / 5) <= 1


def test_regression_is_spread_over_the_values_and_texts_are_carved_too() -> None:
    values = [random.Random(i).uniform(0, 5) for i in range(500)]
    held = [float(row.label) for row in hold_out(TASK, data_of(values)).splits["validation_matched"]]
    assert sum(held) / len(held) == pytest.approx(sum(values) / len(values), abs=0.05)
    texts = hold_out(TASK, data_of([f"a sentence {i}" for i in range(50)]))
    assert len(texts.splits["validation_matched"]) == 10


def test_it_is_the_same_each_time_and_has_a_fingerprint_of_its_own() -> None:
    data = data_of(skewed(200))
    first, second, fewer = hold_out(TASK, data), hold_out(TASK, data), hold_out(TASK, data, 100)
    assert first == second and "40 of 200 train rows" in first.notes[-1]
    assert len({data.fingerprint, first.fingerprint, fewer.fingerprint}) == 3


def test_it_is_no_larger_than_what_a_run_scores() -> None:
    data = data_of(skewed(400))
    made = hold_out(TASK, data, None, 10)
    assert len(made.splits["validation_matched"]) == 10 and len(made.splits["train"]) == 390
    assert Counter(row.label for row in made.splits["validation_matched"])[0] == 7
    assert len(hold_out(TASK, data_of(skewed(12_000)), None, 5000).splits["validation_matched"]) == MOST


def test_texts_that_are_in_both_are_told() -> None:
    data = data_of(skewed(50))
    same = tuple(Example(row.id, ("always this",), row.label) for row in data.splits["train"])
    made = hold_out(TASK, TaskData({"train": same}, "f" * 64, "made up"))
    assert made.notes[1] == "overlap: 10 of 10 validation_matched rows occur in train"


def test_a_task_of_several_splits_is_scored_on_one() -> None:
    whole = Glue()
    narrow = limit_eval_splits(whole, "mnli")
    assert narrow.tasks["mnli"].eval_splits == ("validation_matched",) and narrow.tasks["rte"] == whole.tasks["rte"]
    told = np.array([0, 1, 1, 2])
    assert narrow.score("mnli", "validation_matched", told, told) == {"accuracy_matched": 100.0}
    assert len(whole.tasks["mnli"].eval_splits) == 2 and narrow.name == "glue"


def test_too_few_rows() -> None:
    with pytest.raises(UserError, match="4 train rows are too few") as caught:
        hold_out(TASK, data_of([0, 1, 0, 1]))
    assert "\n" not in str(caught.value)
