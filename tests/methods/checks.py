"""What the contract tests look at: what moved that must not, and which masks a method drew."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.core.method import METHODS, STRATEGIES, Masks, Method, Site
from harness.core.seeds import Streams
from harness.replicas.groups import Attached
from methods.layers.lowrank import LowRankLinear

EVERY: dict[str, Method] = {name: METHODS.get(name)() for name in METHODS.names()}
EVERY |= {f"lorasp-{name}": METHODS.get("lorasp")(select=name) for name in STRATEGIES.names()}
for option in ({"frozen": "int8"}, {"frozen": "nf4"}, {"resample": 4}, {"held": "zero"}):
    EVERY["lorasp:" + ",".join(f"{k}={v}" for k, v in option.items())] = METHODS.get("lorasp")(**option)
"""Each method at its defaults, lorasp with each strategy and with what changes its core."""

SELECTED = [name for name in EVERY if name.startswith("lorasp-")]

Start = tuple[Tensor, Tensor]


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, by name; the tensors themselves."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def snapshot(found: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Each tensor with a copy of its values."""
    return {name: (tensor, tensor.detach().clone()) for name, tensor in found.items()}


def moved(before: dict[str, tuple[Tensor, Tensor]], attached: Attached) -> list[str]:
    """Names of tensors that changed a bit and are no part of a returned group."""
    trained = {g.theta.untyped_storage().data_ptr() for g in attached.groups}
    outside = {n: v for n, v in before.items() if v[0].untyped_storage().data_ptr() not in trained}
    return [n for n, (now, then) in outside.items() if not torch.equal(now.detach(), then)]


def watch_masks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Masks, dict[str, Start]]]:
    """What lorasp draws from now on: the masks of each attachment, and what its A and B start from."""
    seen: list[tuple[Masks, dict[str, Start]]] = []
    kind = METHODS.get("lorasp")
    draw, start = kind.masks, kind.start  # type: ignore[attr-defined]
    starts: dict[str, Start] = {}

    def watched_start(self: Method, site: Site, *rest: object) -> Start:
        made: Start = start(self, site, *rest)
        starts[site.name] = (made[0].clone(), made[1].clone())
        return made

    def watched(self: Method, sites: Sequence[Site], streams: Streams, *reads: object) -> Masks:
        masks: Masks = draw(self, sites, streams, *reads)
        seen.append(({n: (a.copy(), b.copy()) for n, (a, b) in masks.items()}, dict(starts)))
        return masks

    monkeypatch.setattr(kind, "masks", watched)
    monkeypatch.setattr(kind, "start", watched_start)
    return seen


def alive(masks: tuple[np.ndarray, np.ndarray], start: Start) -> np.ndarray:
    """Ranks that train, or that add something without training; the others need not be there at all."""
    trains = masks[0].any(1) | masks[1].any(0)
    return np.flatnonzero(trains | (start[0].numpy().any(1) & start[1].numpy().any(0)))


def unfrozen(model: nn.Module, masks: Masks, starts: dict[str, Start]) -> list[str]:
    """Matrices in which an entry that must not train differs from its start, read in the dense A and B."""
    found = []
    for name, own in masks.items():
        ranks = alive(own, starts[name])
        layer = model.get_submodule(name)
        if not len(ranks):
            assert not isinstance(layer, LowRankLinear)
            continue
        assert isinstance(layer, LowRankLinear)
        views = (("a", layer.a, (ranks,)), ("b", layer.b, (slice(None), ranks)))
        for (part, packed, where), start, mask in zip(views, starts[name], own, strict=True):
            keep = torch.from_numpy(~mask[where])
            if not torch.equal(packed.dense()[0].detach()[keep], start[where][keep]):
                found.append(f"{name}.{part}")
    return found


def disturb(seed: int) -> None:
    """Reseed every global generator."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def global_state() -> tuple[object, ...]:
    """The state of every global generator, as values that compare."""
    kind, keys, *rest = np.random.get_state()
    return torch.random.get_rng_state().tolist(), kind, keys.tolist(), *rest, random.getstate()  # type: ignore[union-attr]
