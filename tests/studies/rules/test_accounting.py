"""Counts of RoBERTa-base against peft's own, and the verdict on the number told."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForSequenceClassification

from studies import counting
from studies.rules.accounting import Choice, judge_choices, judge_halving


@pytest.mark.parametrize(
    ("target", "rank", "modules"),
    [("query+value", 8, ["query", "value"]), ("query+key+value", 16, ["query", "key", "value"])],
)
def test_trained_against_peft(target: str, rank: int, modules: list[str]) -> None:
    config = AutoConfig.for_model("roberta", vocab_size=50265, max_position_embeddings=514, type_vocab_size=1)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
        wrapped = get_peft_model(model, LoraConfig(r=rank, target_modules=modules))
    wanted = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    assert counting.count_trained("roberta-base", "glue", target.split("+"), rank, 1.0) == wanted
    assert counting.count_trained("roberta-base", "glue", target.split("+"), rank, 0.5) * 2 == wanted
    assert counting.count_head("roberta-base", "glue") == 768 * 768 + 768 + 2 * 768 + 2


def test_the_nearest_half_is_judged() -> None:
    found = [Choice("q", 16, 0.5, 442_368), Choice("v", 16, 0.5, 300_000), Choice("q", 8, 1.0, 450_000)]
    near = judge_choices(found, 450_000, 0.02, 592_130)
    assert near.kind == "confirmed" and "442,368" in near.sentence and "no choice fits" in near.sentence
    assert judge_choices(found, 450_000, 0.01, 592_130).kind == "contradicted"
    assert "one choice fits" in judge_choices(found, 892_130, 0.01, 592_130).sentence


@pytest.mark.parametrize(("half", "kind"), [(500, "confirmed"), (400, "contradicted"), (None, "undecided")])
def test_half_of_the_numbers(half: int | None, kind: str) -> None:
    found = [Choice("q", 8, 1.0, 1000)] + ([Choice("q", 8, 0.5, half)] if half else [])
    assert judge_halving(found).kind == kind
