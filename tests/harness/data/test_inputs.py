"""The splits of a task as a model reads them."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.method import Example, Task, TaskData
from harness.core.presets import get_preset
from harness.data.inputs import read_inputs
from harness.models.load import load_tokenizer
from harness.models.source import resolve
from tests.harness.small_training import protocol


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(resolve(get_preset("quick"), "glue", None))


EXAMPLES = [
    Example("a", ("the cat sleeps", "the dog runs"), 0),
    Example("b", ("a " * 30, "the dog"), 1),
    Example("c", ("the", "cat"), 1),
]


def test_what_was_cut_is_counted_by_split(tokenizer: Any) -> None:
    task = Task("t", ("no", "yes"), ("validation",), ("accuracy",))
    data = TaskData({"train": tuple(EXAMPLES), "validation": tuple(EXAMPLES[:1])}, "f", "s")
    inputs = read_inputs(tokenizer, task, data, protocol(max_length=12))
    assert inputs.truncation.rows == {"train": 1, "validation": 0}
    assert inputs.truncation.total == inputs.rows == {"train": 3, "validation": 1}
