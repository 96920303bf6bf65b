"""What each registered method must hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from harness.contracts import METHODS, Member
from harness.packrun import calibration_of
from harness.seeds import Streams, equal
from tests.harness.training import protocol, rows, train, trainer

NAMES = METHODS.names()


@pytest.mark.parametrize("name", NAMES)
def test_step_zero_is_the_base_model_and_randomness_comes_from_the_streams(
    name: str, tiny_bert: Callable[..., nn.Module]
) -> None:
    method = METHODS.get(name)()
    batch = rows().batch(torch.arange(8).numpy())
    base = tiny_bert().eval()
    expected = base.bert(**batch).pooler_output  # type: ignore[operator]
    thetas = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        before = torch.random.get_rng_state()
        model = tiny_bert().eval()
        attached = method.attach(model, [Member(method, Streams(equal(5)))], calibration_of(rows()))
        assert torch.equal(torch.random.get_rng_state(), before)
        if method.starts_at_base:
            with torch.no_grad():
                assert torch.equal(model.bert(**batch).pooler_output, expected)  # type: ignore[operator]
        thetas.append([g.theta.clone() for g in attached.groups])
    assert all(torch.equal(a, b) for a, b in zip(*thetas, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_only_the_returned_groups_change_and_the_loss_falls(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    method = METHODS.get(name)()
    model = tiny_bert()
    before = {n: p.clone() for n, p in model.named_parameters()}
    made, attached = trainer(model, [method], [protocol(max_steps=60, lr=1e-2)], [0], rows(count=16))
    losses = train(made)
    assert losses[-1] < losses[0]
    if not method.trains_backbone:
        inside = {n.replace(".base.", "."): p for n, p in model.named_parameters()}
        assert inside and all(torch.equal(p, before[n]) for n, p in inside.items())
    assert all(bool((g.theta != 0).any()) for g in attached.groups)


@pytest.mark.parametrize("name", NAMES)
def test_moments_and_gradient_have_the_size_of_the_trained_values(
    name: str, tiny_bert: Callable[..., nn.Module]
) -> None:
    made, attached = trainer(tiny_bert(), [METHODS.get(name)()], [protocol()], [0], rows())
    made.one_step(0)
    for i, group in enumerate(attached.groups):
        count = group.counts[0]
        assert [t.numel() for t in (group.grad, made.optimizer.first[i], made.optimizer.second[i])] == [count] * 3
