"""What each registered method must hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from harness.core.method import METHODS, Member
from harness.core.seeds import Streams, equal
from harness.data.task_types.classification import compute_replica_losses
from harness.training.pack_setup import build_calibration
from methods.layers.lowrank import LowRankLinear
from tests.harness.small_training import protocol, rows, train, trainer
from tests.methods.checks import EVERY, SELECTED, disturb, global_state, tensors, watch_masks

NAMES = METHODS.names()


@pytest.mark.parametrize("name", EVERY)
def test_step_zero_is_the_base_model_and_randomness_comes_from_the_streams(
    name: str, tiny_bert: Callable[..., nn.Module]
) -> None:
    method = EVERY[name]
    batch = rows().batch(torch.arange(8).numpy())
    expected = tiny_bert().eval().bert(**batch).pooler_output  # type: ignore[operator,union-attr]
    made = []
    for noise in (1, 2):
        disturb(noise)
        before = global_state()
        model = tiny_bert().eval()
        attached = method.attach(
            model, [Member(method, Streams(equal(5)), 20)], build_calibration(rows(), compute_replica_losses)
        )
        assert global_state() == before
        if method.starts_at_base:
            with torch.no_grad():
                found = model.bert(**batch).pooler_output  # type: ignore[operator,union-attr]
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 if name == "pissa" else 0)
        made.append([*tensors(model).values(), *(g.theta for g in attached.groups), *indices(model)])
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_training_draws_from_the_streams_alone(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    thetas = []
    for noise in (1, 2):
        made, attached = trainer(tiny_bert(dropout=0.1), [EVERY[name]], [protocol(max_steps=3)], [0], rows())
        disturb(noise)
        before = global_state()
        train(made)
        assert global_state() == before
        thetas.append([g.theta.clone() for g in attached.groups])
    assert all(torch.equal(a, b) for a, b in zip(*thetas, strict=True))


@pytest.mark.parametrize("name", SELECTED)
def test_same_seed_same_mask(name: str, tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch_masks(monkeypatch)
    method = EVERY[name]
    for seed in (3, 3):
        disturb(seed + len(seen))
        method.attach(
            tiny_bert(), [Member(method, Streams(equal(seed)), 20)], build_calibration(rows(), compute_replica_losses)
        )
    (first, _), (again, _) = seen
    assert all((x == y).all() for n in first for x, y in zip(first[n], again[n], strict=True))


def indices(model: nn.Module) -> list[torch.Tensor]:
    """Where the trained entries of A and B go."""
    layers = [m for m in model.modules() if isinstance(m, LowRankLinear)]
    return [p.index for layer in layers for p in (layer.a, layer.b) if p.index is not None]


@pytest.mark.parametrize("name", NAMES)
def test_only_the_returned_groups_change_and_the_loss_falls(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    method = METHODS.get(name)()
    model = tiny_bert()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.mul_(8)  # a fresh BERT hardly looks at its input
    before = {n: p.clone() for n, p in model.named_parameters()}
    made, attached = trainer(model, [method], [protocol(max_steps=30, lr=1e-2)], [0], rows(count=16))
    losses = train(made)
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])
    if not method.trains_backbone:
        inside = {n.replace(".base.", ".").replace(".base_layer.", "."): p for n, p in model.named_parameters()}
        frozen = [n for n in before if not n.startswith("classifier")]
        assert frozen and all(torch.equal(inside[n], before[n]) for n in frozen)
    assert all(bool((g.theta != 0).any()) for g in attached.groups)


PACKABLE = [n for n, method in EVERY.items() if method.family is not None]


@pytest.mark.parametrize("name", PACKABLE)
def test_a_nan_in_one_replica_leaves_the_others_bit_identical(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    method = EVERY[name]
    thetas = []
    for poison in (False, True):
        made, attached = trainer(tiny_bert(dropout=0.1), [method] * 2, [protocol(max_steps=5)] * 2, [0, 1], rows())
        if poison:
            for group in attached.groups:
                group.theta.data[1] = float("nan")
        train(made)
        thetas.append([g.theta[0].clone() for g in attached.groups])
    assert all(torch.equal(a, b) for a, b in zip(*thetas, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_what_trains_is_counted_and_declared(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    kind = METHODS.get(name)
    _, attached = trainer(tiny_bert(), [kind()], [protocol()], [0], rows())
    assert all(g.theta.shape == (1, g.counts[0]) for g in attached.groups) and attached.stored[0] >= 0
    assert {g.name for g in attached.groups} <= {"adapter", "head", "backbone"} and attached.count("head", 0) > 0
    assert kind.summary and kind.name == name and set(kind.learning_rates) == {"quick", "small", "paper"}
