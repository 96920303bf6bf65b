"""One pack of everything that may share it is, weight by weight, what each member is alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from harness.core.method import METHODS, STRATEGIES, Method
from harness.core.presets import get_preset
from harness.core.protocol import Protocol
from harness.models.load import load_model
from harness.models.source import resolve
from harness.replicas.groups import Attached
from methods.layers.lowrank import LowRankLinear
from tests.harness.small_training import protocol, rows, trainer

LORA, LORASP = METHODS.get("lora"), METHODS.get("lorasp")
LOW_RANK = [kind() for _, kind in METHODS if kind.family == "lowrank"] + [LORA(rank=4), LORA(dropout=0.2)]
LOW_RANK += [LORASP(select=name) for name in STRATEGIES.names()]
LOW_RANK += [LORASP(resample=4), LORASP(resample=7, select="column", rank=8)]
CODES = ("random", "column", "rank", "a-only", "b-only", "layer")
PACKS: dict[str, Sequence[Method]] = {"low-rank": LOW_RANK}
for level in ("int8", "fp4", "nf4"):
    own = [LORASP(frozen=level, select=name) for name in CODES]
    PACKS[f"frozen {level}"] = [*own, LORASP(frozen=level, resample=4), LORASP(frozen=level, rank=5)]
PACKS["bitfit"] = [METHODS.get("bitfit")()] * 3
PACKS["adapter"] = [METHODS.get("adapter")()] * 3
PACKS["prompt"] = [METHODS.get("prompt")()] * 3
PACKS["prefix"] = [METHODS.get("prefix")()] * 3
PACKS["head"] = [METHODS.get("head")()] * 3


def ends(model: nn.Module, methods: Sequence[Method], protocols: Sequence[Protocol], seeds: Sequence[int]) -> Attached:
    """Train to the last step, and stop before the replicas leave."""
    made, attached = trainer(model, methods, protocols, seeds, rows())
    for step in range(made.totals[0]):
        made.train_step(step)
    return attached


def weights(model: nn.Module, attached: Attached, row: int) -> dict[str, Tensor]:
    """A and B with their frozen entries, and every leaf that lies in no such matrix."""
    found = {}
    for name, layer in model.named_modules():
        if isinstance(layer, LowRankLinear):
            found |= {f"{name}.a": layer.a.dense()[row].clone(), f"{name}.b": layer.b.dense()[row].clone()}
    leaves = {leaf.name: leaf.tensor[row].detach() for g in attached.groups for leaf in g.leaves.values()}
    return {**leaves, **found}


def gap(packed: dict[str, Tensor], alone: dict[str, Tensor]) -> float:
    """Largest difference over max(1, |w|); what only the pack has must be zero there."""
    worst = 0.0
    for name, value in packed.items():
        other = torch.zeros_like(value)
        if name in alone:
            other[tuple(slice(n) for n in alone[name].shape)] = alone[name]
        worst = max(worst, float(((value - other).abs() / other.abs().clamp(min=1)).max()))
    return worst


@pytest.mark.parametrize("name", PACKS)
def test_a_mixed_pack_is_its_solo_runs(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    """float64, dropout on, learning rates that differ, 10 steps: every weight within 1e-10."""
    methods = PACKS[name]
    assert len({m.pack_key() for m in methods}) == 1
    protocols = [protocol(lr=1e-2 / (1 + i % 3), max_steps=10) for i in range(len(methods))]
    model = tiny_bert(dropout=0.1)
    together = ends(model, methods, protocols, range(len(methods)))
    for i, method in enumerate(methods):
        solo = tiny_bert(dropout=0.1)
        alone = weights(solo, ends(solo, [method], protocols[i : i + 1], [i]), 0)
        assert len(alone) > 1 and gap(weights(model, together, i), alone) < 1e-10, method


def test_a_neighbour_that_matters_is_seen(tiny_bert: Callable[..., nn.Module]) -> None:
    """Hand-broken: the solo run has another seed."""
    protocols = [protocol(max_steps=20)] * 2
    model, solo = tiny_bert(), tiny_bert()
    together = ends(model, [LORASP(), LORASP()], protocols, [0, 1])
    alone = ends(solo, [LORASP()], protocols[:1], [2])
    assert gap(weights(model, together, 1), weights(solo, alone, 0)) > 1e-3


@pytest.mark.parametrize("quantize", ["int8", "nf4", "nf4-dq"])
def test_on_a_quantized_backbone_too(quantize: str) -> None:
    """float32, 10 steps: within 1e-4, what the order of sums makes; int8 rounds each row of activations by itself."""
    pytest.importorskip("bitsandbytes")
    source = resolve(get_preset("quick"), "glue", None)
    methods = [LORA(), LORASP(), LORASP(select="column"), LORASP(select="fisher"), METHODS.get("lora-fa")()]
    protocols = [protocol(lr=1e-3, max_steps=10)] * len(methods)
    model = load_model(source, 2, quantize=quantize)
    together = ends(model, methods, protocols, range(len(methods)))
    for i, method in enumerate(methods):
        solo = load_model(source, 2, quantize=quantize)
        alone = weights(solo, ends(solo, [method], protocols[i : i + 1], [i]), 0)
        assert gap(weights(model, together, i), alone) < 1e-4, method
