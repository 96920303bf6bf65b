"""Existing parameters as one flat group of one replica, the module's parameters being views of it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from harness.groups import Attached, ParameterGroup


def adopt(group: str, named: Mapping[str, nn.Parameter], undecayed: frozenset[str] = frozenset()) -> ParameterGroup:
    """A group whose leaves the parameters view: training the group trains the modules. All in float32 at least."""
    values = [(n, p.detach().float()[None] if p.dtype.itemsize < 4 else p.detach()[None]) for n, p in named.items()]
    made = ParameterGroup(group, values, [sum(p.numel() for p in named.values())], undecayed=undecayed)
    for name, parameter in named.items():
        leaf = made.leaves[name].tensor
        parameter.data = leaf.detach()[0]
        parameter.requires_grad_(True)
        assert leaf.grad is not None
        parameter.grad = leaf.grad[0]
    return made


def attach_backbone(model: nn.Module) -> Attached:
    """Every weight; no decay on biases and normalisation weights. Returns the group "backbone"."""
    named = dict(model.named_parameters())
    norms = {f"{n}.weight" for n, m in model.named_modules() if "norm" in type(m).__name__.lower()}
    undecayed = frozenset(n for n in named if n.endswith("bias") or n in norms)
    return Attached([adopt("backbone", named, undecayed)], stored=[0])
