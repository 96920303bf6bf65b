"""Exact counts of what trains, and the bytes of the record, for every method and strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from harness.core.method import METHODS, STRATEGIES
from harness.models.backbone import BackboneStorage
from harness.replicas.groups import ParameterGroup
from harness.training.pack_setup import count_parameters
from methods.layers.lowrank import LowRankLinear
from methods.layers.matrices import ALIGNED
from methods.layers.projection import GradientProjector
from tests.harness.small_training import protocol, rows, trainer
from tests.methods.checks import EVERY, watch_masks

LORASP = METHODS.get("lorasp")
ENTRIES = [(name, s) for name, s in STRATEGIES if s.unit == "entry"]
SHARES = [(name, ratio) for name, s in ENTRIES for ratio in (0.25, 0.5) if ratio == 0.5 or not s.twins]
"""Complementary halves are halves; tests/methods/test_masks.py has their refusal, and counts of whole rows and layers.
"""


def size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def projector_bytes(group: ParameterGroup) -> int:
    bases = [p.basis for p in group.projectors.values() if isinstance(p, GradientProjector)]
    return sum(size(b) for b in bases if b is not None)


@pytest.mark.parametrize("name", EVERY)
def test_the_record_has_the_real_bytes(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    made, attached = trainer(tiny_bert(dtype=torch.float32), [EVERY[name]], [protocol()], [0], rows())
    parameters, state = count_parameters(BackboneStorage(0, 0, 0), attached, 0, protocol())
    gradients: list[int] = []
    update = made.optimizer.update

    def updated() -> torch.Tensor:
        """Those that autograd creates are there no longer after the update."""
        lying = [p.grad for g in attached.groups for p in g.parameters.values()]
        lying += [g.grad_buffer for g in attached.groups]
        gradients.append(sum(size(grad) for grad in lying if grad is not None))
        return update()

    made.optimizer.update = updated  # type: ignore[method-assign]
    made.train_step(0)
    assert state.weights == sum(size(g.theta) for g in attached.groups)
    assert [state.gradients] == gradients
    moments = made.optimizer.list_tensors()
    assert state.optimizer == sum(map(size, moments)) + sum(projector_bytes(g) for g in attached.groups)
    numbers = parameters.adapter_trained + parameters.head_trained + parameters.backbone_trained
    assert state.weights == 4 * numbers and parameters.adapter_frozen >= 0


@pytest.mark.parametrize("scope", ["matrix", "pair", "model"])
@pytest.mark.parametrize(("select", "ratio"), SHARES)
def test_exactly_the_share_trains_at_odd_sizes(
    select: str, ratio: float, scope: str, tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks 3 and 5 at sites of three widths."""
    for rank, target in ((3, ("query", "dense")), (5, ("value",))):
        method = LORASP(select=select, ratio=ratio, scope=scope, rank=rank, target=target)
        seen = watch_masks(monkeypatch)
        made, attached = trainer(tiny_bert(), [method], [protocol()], [1], rows())
        ((masks, starts),) = seen
        shapes = [tuple(m.shape) for pair in starts.values() for m in pair]
        sizes = [m * n for m, n in shapes]
        if scope == "model":
            wanted = round(ratio * sum(sizes))
        elif scope == "pair":
            wanted = sum(round(ratio * (a + b)) for a, b in zip(sizes[::2], sizes[1::2], strict=True))
        else:
            wanted = sum(round(ratio * n) for n in sizes)
        assert attached.count("adapter", 0) == wanted == sum(int(m.sum()) for pair in masks.values() for m in pair)
        adapter = [g for g in attached.groups if g.name == "adapter"]
        index = [attached.groups.index(g) for g in adapter]
        assert (
            sum(made.optimizer.moments["first"][i].numel() for i in index)
            == sum(g.grad.numel() for g in adapter)
            == wanted
        )
        monkeypatch.undo()


@pytest.mark.parametrize("frozen", ["none", "int8", "fp4", "nf4"])
@pytest.mark.parametrize("select", STRATEGIES.names())
def test_frozen_bytes_are_those_of_the_tensors(select: str, frozen: str, tiny_bert: Callable[..., nn.Module]) -> None:
    model = tiny_bert(dtype=torch.float32)
    _, attached = trainer(model, [LORASP(select=select, frozen=frozen)], [protocol()], [0], rows())
    held = 0
    matrices = set()
    for layer in (m for m in model.modules() if isinstance(m, LowRankLinear)):
        for packed in (layer.a, layer.b):
            held += sum(size(one) for one in (packed.index, packed.narrow) if one is not None)
            held += sum(map(size, packed.frozen.tensors())) if packed.frozen is not None else 0
            matrices |= {packed.matrices} if packed.matrices is not None and packed.matrices.flat is not None else set()
    for one in matrices:
        spare = one.flat.shape[1] - sum(p.size for p in one.parts)  # takes the padding of packs
        assert 0 < spare <= ALIGNED
        held += size(one.flat) - 4 * spare
    assert count_parameters(BackboneStorage(0, 0, 0), attached, 0, protocol())[1].frozen == held


PACKED = [
    *(LORASP(select=name) for name in STRATEGIES.names()),
    *(
        LORASP(rank=5, select=name, target=("query", "key", "value"))
        for name in ("random", "column", "layer", "b-only")
    ),
    *(LORASP(resample=3), LORASP(ratio=1.0)),
    *(METHODS.get(name)() for name in ("lora", "lora-fa", "rslora", "loraplus", "pissa")),
    *(METHODS.get("lora")(rank=4), METHODS.get("lora")(rank=24, target=("key",))),
]


def test_what_a_record_says_of_a_cell_does_not_hang_on_its_neighbours(tiny_bert: Callable[..., nn.Module]) -> None:
    def said(methods: list[Any], seeds: list[int], slot: int) -> Any:
        _, attached = trainer(tiny_bert(dtype=torch.float32), methods, [protocol()] * len(methods), seeds, rows())
        extra = {k: v for k, v in attached.collect_extra(slot).items() if k != "calibration_seconds"}
        return count_parameters(BackboneStorage(0, 0, 0), attached, slot, protocol()), extra

    for methods in (PACKED, [LORASP(frozen="nf4", select=n) for n in ("random", "a-only", "layer", "rank")]):
        seeds = list(range(len(methods)))
        _, attached = trainer(tiny_bert(dtype=torch.float32), methods, [protocol()] * len(methods), seeds, rows())
        for slot, method in enumerate(methods):
            extra = {k: v for k, v in attached.collect_extra(slot).items() if k != "calibration_seconds"}
            assert (count_parameters(BackboneStorage(0, 0, 0), attached, slot, protocol()), extra) == said(
                [method], [slot], 0
            ), method


def test_counts_of_every_baseline(tiny_bert: Callable[..., nn.Module]) -> None:
    """By hand: two layers of width 32, inner width 64, vocabulary 50, 32 positions, at each method's defaults."""
    sites, width, inner = 4, 32, 64
    lora = sites * 2 * 16 * width
    layer_biases = 5 * width + inner + 2 * width  # q, k, v and two outputs, the inner one, two norms
    block = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    whole = (50 + 32 + 2) * width + 2 * width + 2 * block + width * width + width
    wanted = {
        "lora": lora,
        "lorasp": lora // 2,
        "lora-fa": lora // 2,
        "rslora": lora,
        "loraplus": lora,
        "pissa": lora,
        "dora": lora + sites * width,
        "vera": sites * (64 + width),
        "adalora": sites * (2 * 24 * width + 24),
        "ia3": sites * width,
        "shira": lora,
        "bitfit": 2 * layer_biases + 2 * width,
        "adapter": 2 * (2 * 16 * width + 16 + width),
        "prompt": 10 * width,
        "prefix": 2 * 2 * 10 * width,
        "full": whole,
        "galore": whole,
        "head": 0,
    }
    found = {}
    for name in wanted:
        _, attached = trainer(tiny_bert(), [METHODS.get(name)()], [protocol()], [0], rows())
        found[name] = attached.count("adapter", 0) + attached.count("backbone", 0)
        assert attached.count("head", 0) == 2 * width + 2
    assert found == wanted
