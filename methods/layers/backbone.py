"""All weights of the backbone as one flat group, the module's parameters being views of it."""

from __future__ import annotations

from torch import nn

from harness.groups import Attached, ParameterGroup


def attach_backbone(model: nn.Module) -> Attached:
    """One replica; no decay on biases and normalisation weights. Returns the group "backbone"."""
    named = dict(model.named_parameters())
    norms = {f"{n}.{p}" for n, m in model.named_modules() if "norm" in type(m).__name__.lower() for p in ("weight",)}
    undecayed = frozenset(n for n in named if n.endswith("bias") or n in norms)
    values = [(n, p.detach().float()[None] if p.dtype.itemsize < 4 else p.detach()[None]) for n, p in named.items()]
    group = ParameterGroup("backbone", values, [sum(p.numel() for p in named.values())], undecayed=undecayed)
    for name, parameter in named.items():
        leaf = group.leaves[name].tensor
        parameter.data = leaf.detach()[0]
        parameter.requires_grad_(True)
        assert leaf.grad is not None
        parameter.grad = leaf.grad[0]
    return Attached([group], stored=[0])
