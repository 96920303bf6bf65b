"""Which layers the words of `target` mean."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from harness.contracts import METHODS
from methods.lowrank import find_sites
from tests.harness.training import protocol, rows, train, trainer

ATTENTION = ["self.query", "self.key", "self.value", "output.dense"]
WORDS = {
    ("query", "value"): ["attention.self.query", "attention.self.value"],
    ("attention",): [f"attention.{name}" for name in ATTENTION],
    ("all-linear",): [*(f"attention.{name}" for name in ATTENTION), "intermediate.dense", "output.dense"],
    ("attention", "query"): [f"attention.{name}" for name in ATTENTION],
}


@pytest.mark.parametrize("target", WORDS)
def test_in_bert(target: tuple[str, ...], tiny_bert: Callable[..., nn.Module]) -> None:
    wanted = [f"bert.encoder.layer.{i}.{name}" for i in range(2) for name in WORDS[target]]
    assert [site.name for site in find_sites(tiny_bert(), target, 4)] == wanted


@pytest.mark.parametrize("kind", ["llama", "distilbert", "roberta"])
def test_in_other_architectures(kind: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = {"llama": {"num_hidden_layers": 1}, "distilbert": {"n_layers": 1}, "roberta": {"num_hidden_layers": 1}}
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **sizes[kind]))
    attention, every = (len(find_sites(model, (word,), 4)) for word in ("attention", "all-linear"))
    assert (attention, every) == {"llama": (4, 7), "distilbert": (4, 6), "roberta": (4, 6)}[kind]


@pytest.mark.parametrize("name", ["lora", "lorasp", "dora", "galore"])
def test_methods_train_on_all_linear_layers(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    made, attached = trainer(
        tiny_bert(), [METHODS.get(name)(rank=4, target=("all-linear",))], [protocol(max_steps=2)], [0], rows()
    )
    before = [g.theta.clone() for g in attached.groups]
    assert len(train(made)) > 0
    assert all(not (g.theta == b).all() for g, b in zip(attached.groups, before, strict=True))
