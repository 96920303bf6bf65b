"""Where the whole backbone trains: gradients that exist from the backward pass to the update, with a buffer's bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import methods.layers.backbone as backbone
from harness.core.method import METHODS
from harness.training.trainer import Trainer
from tests.harness.small_training import protocol, rows, trainer

STEPS = 3


def train(name: str, model: nn.Module, clip: float) -> Trainer:
    made, _ = trainer(model, [METHODS.get(name)()], [protocol(clip=clip)], [0], rows())
    for step in range(STEPS):
        made.train_step(step)
    return made


@pytest.mark.parametrize("clip", [0.01, 100.0])
@pytest.mark.parametrize("name", ["full", "galore"])
def test_created_gradients_change_no_bit(
    name: str, clip: float, tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    created = train(name, tiny_bert(dtype=torch.float32), clip)
    adopt = backbone.group_parameters

    def adopt_buffered(*args: Any, **kwargs: Any) -> Any:
        return adopt(*args, **(kwargs | {"buffered": True}))

    monkeypatch.setattr(backbone, "group_parameters", adopt_buffered)
    buffered = train(name, tiny_bert(dtype=torch.float32), clip)
    assert all(g.grad_buffer is not None for g in buffered.attached.groups)
    assert [g.name for g in created.attached.groups if g.grad_buffer is not None] == ["head"]
    for mine, theirs in zip(created.attached.groups, buffered.attached.groups, strict=True):
        assert torch.equal(mine.theta, theirs.theta)
    moments = zip(created.optimizer.moments["first"], buffered.optimizer.moments["first"], strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in moments)


@pytest.mark.parametrize("name", ["full", "galore"])
def test_no_gradient_of_the_backbone_outlives_its_step(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    made = train(name, tiny_bert(dtype=torch.float32), 1.0)
    whole = [g for g in made.attached.groups if g.name == "backbone"]
    assert whole and all(g.parameters for g in whole)
    assert all(p.grad is None and p.requires_grad for g in whole for p in g.parameters.values())
