"""What a strategy says that it saves, measured against LoRA: no less and no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harness.contracts import METHODS, STRATEGIES, Method
from tests.harness.training import protocol, rows, trainer

ALWAYS = {"trained parameters", "gradient", "optimizer state"}


def cost(method: Method, model: nn.Module) -> dict[str, int]:
    """Numbers and bytes of one training step: those of the adapter, kept for backward, and operations."""
    made, attached = trainer(model, [method], [protocol(max_steps=2)], [0], rows())
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    own |= {g.theta.untyped_storage().data_ptr() for g in attached.groups}
    kept: dict[int, int] = {}
    alive: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), FlopCounterMode(display=False) as flops:
        made.one_step(0)
    group = next(g for g in attached.groups if g.name == "adapter")
    return {
        "trained parameters": group.counts[0],
        "gradient": group.grad.nbytes,
        "optimizer state": group.state_bytes(0),
        "activations": sum(kept.values()),
        "compute": flops.get_total_flops(),
    }


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_a_strategy_saves_what_it_says(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    lora = cost(METHODS.get("lora")(), tiny_bert(dropout=0.1))
    own = cost(METHODS.get("lorasp")(select=name), tiny_bert(dropout=0.1))
    assert {what for what in lora if own[what] < lora[what]} == set(STRATEGIES.get(name).saves)
    assert set(STRATEGIES.get(name).saves) >= ALWAYS


def test_lora_fa_keeps_less_than_lora(tiny_bert: Callable[..., nn.Module]) -> None:
    lora, fa = (cost(METHODS.get(n)(), tiny_bert()) for n in ("lora", "lora-fa"))
    assert fa["activations"] < lora["activations"] and fa["compute"] < lora["compute"]
