"""Put existing parameters into one flat group of one replica; the module's parameters become views of it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from harness.replicas.groups import Attached, ParameterGroup, Projector


def group_parameters(
    group: str,
    named: Mapping[str, nn.Parameter],
    undecayed: frozenset[str] = frozenset(),
    projectors: Mapping[str, Projector] | None = None,
    *,
    buffered: bool = True,
) -> ParameterGroup:
    """A group of which the parameters are views, so training the group trains the modules; at least float32.

    With `buffered` gradients accumulate in a buffer; otherwise autograd creates them in each step and the update frees
    them.
    """
    values = [(n, p.detach().float()[None] if p.dtype.itemsize < 4 else p.detach()[None]) for n, p in named.items()]
    count = sum(p.numel() for p in named.values())
    parameters = None if buffered else named
    parameter_group = ParameterGroup(
        group, values, [count], undecayed=undecayed, projectors=projectors, parameters=parameters
    )
    for name, parameter in named.items():
        leaf = parameter_group.leaves[name].tensor
        # Setting `data` keeps the Parameter object, so weights that modules share stay shared.
        parameter.data = leaf.detach()[0]
        parameter.requires_grad_(True)
        parameter.grad = None if leaf.grad is None else leaf.grad[0]
    return parameter_group


def attach_backbone(model: nn.Module, projectors: Mapping[str, Projector] | None = None) -> Attached:
    """Train every weight, without weight decay on biases and norms; returns the group "backbone".

    Weights with a projector form a second group of the same name.
    """
    named = dict(model.named_parameters())
    # By class name, because models have norms of their own (LlamaRMSNorm, T5LayerNorm).
    norms = {f"{n}.weight" for n, m in model.named_modules() if "norm" in type(m).__name__.lower()}
    undecayed = frozenset(n for n in named if n.endswith("bias") or n in norms)
    plain = {n: p for n, p in named.items() if n not in (projectors or {})}
    groups = [group_parameters("backbone", plain, undecayed, buffered=False)]
    if projectors:
        projected = {n: named[n] for n in projectors}
        groups.append(group_parameters("backbone", projected, undecayed, projectors, buffered=False))
    return Attached(groups, stored=[0])
