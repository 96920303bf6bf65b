"""Only the returned groups change, bit by bit, with weight decay on; and the checks see a method that breaks this."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from harness.core.method import METHODS
from harness.replicas.optimizer import ReplicaOptimizer
from tests.harness.small_training import protocol, rows, train, trainer
from tests.methods.checks import EVERY, SELECTED, moved, snapshot, tensors, unfrozen, watch_masks

TEN = protocol(max_steps=10, weight_decay=0.1)


@pytest.mark.parametrize("name", EVERY)
def test_nothing_but_the_returned_groups_moves(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    model = tiny_bert(dropout=0.1)
    loaded = snapshot(tensors(model))
    made, attached = trainer(model, [EVERY[name]], [TEN], [0], rows())
    fitted = snapshot(tensors(made.model))
    start = [g.theta.detach().clone() for g in attached.groups]
    train(made)
    assert moved(loaded, attached) == [] and moved(fitted, attached) == []
    assert all(not torch.equal(g.theta, before) for g, before in zip(attached.groups, start, strict=True))


@pytest.mark.parametrize("name", SELECTED)
def test_frozen_entries_are_bit_unchanged_under_every_strategy(
    name: str, tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch_masks(monkeypatch)
    model = tiny_bert()
    made, _ = trainer(model, [EVERY[name]], [TEN], [0], rows())
    train(made)
    ((masks, starts),) = seen
    assert any(not m.all() for pair in masks.values() for m in pair) and unfrozen(model, masks, starts) == []


def test_a_gradient_mask_in_place_of_freezing_is_caught(
    tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hand-broken: every entry is AdamW's, the frozen ones only have their gradient zeroed; decay moves them."""
    seen = watch_masks(monkeypatch)
    trainer(tiny_bert(), [METHODS.get("lorasp")()], [TEN], [0], rows())
    ((masks, starts),) = seen
    model = tiny_bert()
    made, attached = trainer(model, [METHODS.get("lora")()], [TEN], [0], rows())
    step = ReplicaOptimizer.update

    def masked(self: ReplicaOptimizer) -> torch.Tensor:
        for name, pair in masks.items():
            for part, mask in zip("ab", pair, strict=True):
                grad = attached.groups[0].leaves[f"{name}.{part}"].tensor.grad
                assert grad is not None
                grad[0][torch.from_numpy(~mask)] = 0
        return step(self)

    monkeypatch.setattr(ReplicaOptimizer, "update", masked)
    train(made)
    assert unfrozen(model, masks, starts) == [f"{name}.a" for name in masks]


def test_momentum_after_a_late_mask_is_caught(
    tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hand-broken: no decay, but the mask comes after the first step, whose momentum goes on."""
    seen = watch_masks(monkeypatch)
    trainer(tiny_bert(), [METHODS.get("lorasp")()], [TEN], [0], rows())
    ((masks, starts),) = seen
    model = tiny_bert()
    made, _ = trainer(model, [METHODS.get("lora")()], [protocol(max_steps=3, weight_decay=0.0)], [0], rows())
    train(made)
    assert unfrozen(model, masks, starts) == [f"{name}.{part}" for name in masks for part in "ab"]


def test_a_backbone_that_leaks_is_caught(tiny_bert: Callable[..., nn.Module]) -> None:
    """Hand-broken: decay on one frozen weight, and a buffer that counts."""
    model = tiny_bert()
    model.register_buffer("count", torch.zeros(()))
    before = snapshot(tensors(model))
    made, attached = trainer(model, [METHODS.get("lora")()], [TEN], [0], rows())
    words = model.bert.embeddings.word_embeddings.weight  # type: ignore[union-attr]
    attached.after_step.append(lambda step: words.mul_(0.999))  # type: ignore[arg-type,operator,union-attr]
    attached.after_step.append(lambda step: model.count.add_(1))  # type: ignore[arg-type,operator,union-attr]
    train(made)
    assert moved(before, attached) == ["bert.embeddings.word_embeddings.weight", "count"]
