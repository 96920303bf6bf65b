"""Tokenised rows, truncation, and predictions in the order of the split."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.core.method import Example, Task
from harness.core.presets import get_preset
from harness.data.task_types.classification import TASK_TYPE, extract_predictions, predict, tokenise
from harness.models.load import load_tokenizer
from harness.models.source import resolve
from tests.harness.small_training import protocol, rows


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(resolve(get_preset("quick"), "glue", None))


EXAMPLES = [
    Example("a", ("the cat sleeps", "the dog runs"), 0),
    Example("b", ("a " * 30, "the dog"), 1),
    Example("c", ("the", "cat"), 1),
]


def test_rows_are_what_the_tokenizer_gives_one_by_one(tokenizer: Any) -> None:
    split = tokenise(tokenizer, EXAMPLES, 12, regression=False)
    for i, example in enumerate(EXAMPLES):
        alone = tokenizer(*example.texts, truncation=True, max_length=12)
        n = int(split.lengths[i])
        assert split.ids[i, :n].tolist() == alone["input_ids"]
        assert split.types is not None and split.types[i, :n].tolist() == alone["token_type_ids"]
        assert (split.ids[i, n:] == tokenizer.pad_token_id).all()
    assert split.cut.tolist() == [False, True, False] and int(split.lengths.max()) == 12
    assert split.labels.dtype == torch.int64 and split.example_ids == ["a", "b", "c"]
    assert tokenise(tokenizer, EXAMPLES, 12, regression=True).labels.dtype == torch.float32


def test_a_batch_is_padded_to_its_longest_row(tokenizer: Any) -> None:
    split = tokenise(tokenizer, EXAMPLES, 32, regression=False)
    batch = split.batch(np.array([2, 0]))
    assert batch["input_ids"].shape[1] == int(split.lengths[0])
    assert batch["attention_mask"].sum(1).tolist() == [split.lengths[2], split.lengths[0]]


def test_predictions_stand_in_the_order_of_the_split(tiny_bert: Any) -> None:
    model: nn.Module = tiny_bert().eval()
    split = rows(count=30)
    found = predict(model, split, 1)
    with torch.no_grad():
        alone = [model(**split.batch(np.array([i]))).logits[0].float().numpy() for i in range(30)]
    assert found.shape == (1, 30, 2) and np.allclose(found[0], alone, atol=1e-6)


def test_decisions() -> None:
    assert extract_predictions(np.array([[0.1, 0.9], [2.0, 1.0]])).tolist() == [1, 0]
    assert extract_predictions(np.array([[0.25], [-1.0]])).tolist() == [0.25, -1.0]


def test_synthetic_rows_of_an_encoder_decoder_end_once() -> None:
    config = SimpleNamespace(is_encoder_decoder=True, eos_token_id=1)
    made = TASK_TYPE.build_synthetic(
        Task("rte", ("no", "yes"), ("validation",), ("accuracy",)), protocol(), 16, 4, config
    )
    assert (made.ids[:, -1] == 1).all() and (made.ids == 1).sum() == len(made) and int(made.ids.max()) < 4
