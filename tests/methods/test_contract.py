"""What each registered method must hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from harness.contracts import METHODS, Member
from harness.packrun import calibration_of
from harness.seeds import Streams, equal
from harness.task_types.classification import replica_losses
from methods.layers.lowrank import LowRankLinear
from tests.harness.training import protocol, rows, train, trainer
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
        attached = method.attach(model, [Member(method, Streams(equal(5)), 20)], calibration_of(rows(), replica_losses))
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
        method.attach(tiny_bert(), [Member(method, Streams(equal(seed)), 20)], calibration_of(rows(), replica_losses))
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
    made, attached = trainer(model, [method], [protocol(max_steps=60, lr=1e-2)], [0], rows(count=16))
    losses = train(made)
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])
    if not method.trains_backbone:
        inside = {n.replace(".base.", ".").replace(".base_layer.", "."): p for n, p in model.named_parameters()}
        frozen = [n for n in before if not n.startswith("classifier")]
        assert frozen and all(torch.equal(inside[n], before[n]) for n in frozen)
    assert all(bool((g.theta != 0).any()) for g in attached.groups)


PACKABLE = [n for n in NAMES if METHODS.get(n).family is not None]


def logits(model: nn.Module, k: int) -> torch.Tensor:
    batch = {n: v.repeat(k, 1) for n, v in rows(seed=1).batch(torch.arange(20).numpy()).items()}
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**batch).logits
    return found.view(k, 20, -1)


@pytest.mark.parametrize("name", PACKABLE)
def test_a_pack_trains_each_replica_as_it_trains_alone(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    """fp64, dropout on, mixed with lora where the family allows it: within 1e-10 of the solo runs after 20 steps."""
    method, lora = METHODS.get(name)(), METHODS.get("lora")(rank=4)
    mixed = [method, lora, method] if method.packs_with() == lora.packs_with() else [method] * 3
    protocols = [protocol(lr=lr, max_steps=20) for lr in (1e-2, 5e-3, 1e-3)]
    together, _ = trainer(tiny_bert(dropout=0.1), mixed, protocols, [0, 1, 2], rows())
    found: list[torch.Tensor] = []
    together.run(lambda members: found.append(logits(together.model, 3)), lambda step, losses: None)
    for i in range(3):
        alone, _ = trainer(tiny_bert(dropout=0.1), [mixed[i]], [protocols[i]], [i], rows())
        train(alone)
        gap = float((logits(alone.model, 1)[0] - found[0][i]).abs().max())
        assert gap < 1e-10, gap


@pytest.mark.parametrize("name", PACKABLE)
def test_a_nan_in_one_replica_leaves_the_others_bit_identical(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    method = METHODS.get(name)()
    thetas = []
    for poison in (False, True):
        made, attached = trainer(tiny_bert(dropout=0.1), [method] * 2, [protocol()] * 2, [0, 1], rows())
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
