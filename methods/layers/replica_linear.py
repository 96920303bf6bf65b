"""Linear layers with one weight per replica (the classification head), and finding layers in a model.

x [K*B, T, d_in]   rows of replica 0 | rows of replica 1 | ...   -> view [K, B*T, d_in]
W [K, d_out, d_in] one weight per replica                        -> one batched product for all replicas
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.core.seeds import Streams
from harness.replicas.groups import Attached, Leaf, ParameterGroup


class ReplicaLinear(nn.Module):
    """y = x W^T + b for x [K*B, ..., d_in], with leaves W [K, d_out, d_in] and b [K, d_out]."""

    def __init__(self, weight: Leaf, bias: Leaf | None) -> None:
        super().__init__()
        self.weight_leaf, self.bias_leaf = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_leaf.tensor
        k = weight.shape[0]
        rows = x.reshape(k, -1, x.shape[-1])
        w = weight.to(x.dtype).transpose(1, 2)
        if self.bias_leaf is None:
            y = torch.bmm(rows, w)
        else:
            y = torch.baddbmm(self.bias_leaf.tensor.to(x.dtype)[:, None, :], rows, w)
        return y.view(*x.shape[:-1], -1)


def replace_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Replace the module at `path`."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def find_head_linears(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    """(path, layer) of the linear layers outside the pretrained backbone (transformers' `base_model`).

    A language model has none, because its output layer is pretrained.
    """
    if get_lm_head(model) is not None:
        return []
    base = getattr(model, "base_model", None)
    inside = set(base.modules()) if isinstance(base, nn.Module) and base is not model else set()
    return [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear) and m not in inside]


def get_lm_head(model: nn.Module) -> nn.Module | None:
    """The output layer of a language model, from hidden states to logits; None for a classifier."""
    get = getattr(model, "get_output_embeddings", None)
    return get() if get is not None else None


def find_backbone_linears(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """(path, layer) of the linear layers in the pretrained backbone, without a language model's output layer.

    Includes GPT-2's Conv1D, a linear layer with a transposed weight.
    """
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, Conv1D)
    heads = {name for name, _ in find_head_linears(model)}
    words = get_lm_head(model)
    return [(n, m) for n, m in model.named_modules() if isinstance(m, kinds) and n not in heads and m is not words]


def get_widths(linear: Any) -> tuple[int, int]:
    """(d_in, d_out) of a linear layer."""
    return (linear.in_features, linear.out_features) if hasattr(linear, "in_features") else (linear.nx, linear.nf)


def draw_head(path: str, linear: nn.Linear, streams: Streams, std: float) -> tuple[Tensor, Tensor | None]:
    """Weight ~ N(0, std) and zero bias, drawn from the head stream for the layer's path."""
    weight = torch.empty(linear.out_features, linear.in_features, dtype=torch.float64)
    weight.normal_(0.0, std, generator=streams.torch("head", path))
    bias = None if linear.bias is None else torch.zeros(linear.out_features, dtype=torch.float64)
    return weight, bias


def get_trained_dtype(model: nn.Module) -> torch.dtype:
    """The dtype of trainable parameters: float32 for any backbone precision, float64 for a float64 model (tests)."""
    return torch.float64 if next(model.parameters()).dtype == torch.float64 else torch.float32


def attach_heads(model: nn.Module, streams: Sequence[Streams]) -> Attached:
    """Replace each head layer by a ReplicaLinear with new random weights; returns the group "head", if any."""
    std = float(getattr(getattr(model, "config", None), "initializer_range", 0.02))
    device, dtype = next(model.parameters()).device, get_trained_dtype(model)
    linears = find_head_linears(model)
    if not linears:
        return Attached([], stored=[0] * len(streams))
    values: list[tuple[str, Tensor]] = []
    for path, linear in linears:
        drawn = [draw_head(path, linear, s, std) for s in streams]
        values.append((f"{path}.weight", torch.stack([w for w, _ in drawn])))
        biases = [b for _, b in drawn if b is not None]
        if biases:
            values.append((f"{path}.bias", torch.stack(biases)))
    values = [(name, value.to(device, dtype)) for name, value in values]
    count = sum(v[0].numel() for _, v in values)
    undecayed = frozenset(name for name, _ in values if name.endswith(".bias"))
    group = ParameterGroup("head", values, [count] * len(streams), undecayed=undecayed)
    for path, _ in linears:
        replace_module(model, path, ReplicaLinear(group.leaves[f"{path}.weight"], group.leaves.get(f"{path}.bias")))
    return Attached([group], stored=[0] * len(streams))
