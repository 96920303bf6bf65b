"""Models of a known shape: their published sizes, and random weights that load like any others."""

from __future__ import annotations

import pytest
import torch

from harness.core.errors import UserError
from harness.core.presets import get_preset
from harness.models.load import load_model, load_skeleton
from harness.models.shapes import SHAPES, get_shape
from harness.models.source import resolve

# millions of parameters: from the model cards and papers, rounded as they are
PUBLISHED = {
    "minilm": 22.7,
    "bert-base": 110,
    "roberta-base": 125,
    "roberta-large": 355,
    "t5-small": 60.5,
    "t5-base": 223,
    "llama-tiny": (2 * 512 * 64 + 2 * (64 * (64 + 2 * 32 + 64) + 3 * 64 * 176 + 2 * 64) + 64) / 1e6,
    "llama-1b": 1236,
    "llama-3b": 3213,
    "llama-7b": 6738,
    "llama-13b": 13016,
    "llama-30b": 32_529,
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_its_models_published_size(name: str) -> None:
    source = resolve(get_preset("quick"), "glue", f"shape:{name}")
    model = load_skeleton(source, None if SHAPES[name].kind in ("t5", "llama") else 2)
    count = sum(p.numel() for p in model.parameters()) / 1e6
    # the word logits of llama 3.2 are tied to its embeddings
    tied = model.lm_head.weight.numel() / 1e6 if name in ("llama-1b", "llama-3b") else 0  # type: ignore[union-attr]
    assert count - tied == pytest.approx(PUBLISHED[name], rel=0.01)


def test_random_weights_are_the_same_each_time_and_of_no_folder() -> None:
    source = resolve(get_preset("quick"), "glue", "shape:minilm")
    first, second = (load_model(source, 2) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert source.stand_in and source.ref.revision.startswith("random weights")


def test_the_tokenizer_may_be_of_a_folder() -> None:
    own = resolve(get_preset("quick"), "glue", None)
    assert resolve(get_preset("small"), "glue", f"shape:roberta-base@{own.path}").path == own.path


def test_an_unknown_shape_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'roberta-base'"):
        get_shape("roberta-bas")
