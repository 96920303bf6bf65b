"""Where the whole backbone trains, gradients exist in the backward pass and the update only."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import methods.layers.backbone as backbone
from harness.contracts import METHODS
from harness.live_storages import LiveStorages
from harness.train import Trainer
from tests.harness.training import protocol, rows, trainer

STEPS = 3


def trained(name: str, model: nn.Module) -> tuple[Trainer, int]:
    """The trainer after some steps, and the most bytes that a step had beyond those before it."""
    made, _ = trainer(model, [METHODS.get(name)()], [protocol()], [0], rows())
    for step in range(STEPS - 1):
        made.one_step(step)
    with LiveStorages() as counts:
        made.one_step(STEPS - 1)
    return made, counts.peak


@pytest.mark.parametrize("name", ["full", "galore"])
def test_transient_gradients_change_no_bit_and_lower_the_peak(
    name: str, tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, peak = trained(name, tiny_bert(dtype=torch.float32))
    values = [g.theta.detach().clone() for g in made.attached.groups]
    whole = [g for g in made.attached.groups if g.name == "backbone"]
    assert all(g.grad.numel() == 0 and not any(p.grad is not None for p in g.parameters.values()) for g in whole)
    adopt = backbone.adopt

    def persistent(*args: object, **kwargs: object) -> object:
        return adopt(*args, **(kwargs | {"transient_gradients": False}))  # type: ignore[arg-type]

    monkeypatch.setattr(backbone, "adopt", persistent)
    before, peak_before = trained(name, tiny_bert(dtype=torch.float32))
    buffers = [g for g in before.attached.groups if g.name == "backbone"]
    held = sum(g.grad.nbytes for g in buffers)
    assert held == sum(g.bytes_of(0) for g in buffers) > 0
    assert all(torch.equal(a, g.theta) for a, g in zip(values, before.attached.groups, strict=True))
    assert peak < peak_before + held
