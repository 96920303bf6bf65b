"""Norm, gated activation and rotation of LLaMA's blocks, which save little for the backward pass.

    operation                        saved              result is recomputed by its readers from
    x / rms(x) * weight              x, 1 / rms [N]     x, weight
    silu(gate) * up                  gate, up           gate, up
    rotation of query and key        cos, sin           (attention saves the results)

On a GPU the kernels are those of liger-kernel where it is installed (extra `kernels`), elsewhere torch's.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.replicas.recomputed import set_recomputation


@functools.cache
def load_liger(name: str) -> ModuleType | None:
    """The module `name` of liger-kernel's operations; None where it or Triton is not installed."""
    if any(importlib.util.find_spec(package) is None for package in ("triton", "liger_kernel")):
        return None
    return importlib.import_module(f"liger_kernel.ops.{name}")


def get_kernels(name: str, x: Tensor) -> Any:
    """liger-kernel's module for a tensor on a GPU; None for torch's operations."""
    return load_liger(name) if x.is_cuda else None


def normalize(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x [..., d] over its root mean square, times `weight` [d], in the dtype of both.

    The root mean square is computed in float32 for narrower x, as in transformers.
    """
    result: Tensor = _RMSNorm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    if weight.requires_grad:  # its values may have changed before a reader computes the result again
        return result
    return set_recomputation(result, functools.partial(_recompute_norm, epsilon), x, weight)


def _recompute_norm(epsilon: float, x: Tensor, weight: Tensor) -> Tensor:
    return _compute_norm(x, weight, epsilon)[0]


def _compute_norm(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Any]:
    """(the norm, 1 / rms of each row [N], launch options of a kernel or None)."""
    kernels = get_kernels("rms_norm", x)
    if kernels is not None:
        result, _, scale, *launch = kernels.rms_norm_forward(x.contiguous(), weight, epsilon, 0.0, "llama", None)
        return result, scale, launch
    rows = x.reshape(-1, x.shape[-1])
    wide = rows.float() if rows.dtype.itemsize < 4 else rows
    scale = torch.rsqrt(wide.square().mean(1) + epsilon)
    return (weight * (wide * scale[:, None]).to(x.dtype)).view(x.shape), scale, None


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        result, scale, ctx.launch = _compute_norm(x, weight, epsilon)
        ctx.save_for_backward(x, weight, scale)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        trains = ctx.needs_input_grad[1]
        if ctx.launch is not None:
            dx, d_weight = _run_backward_kernel(ctx.launch, grads[0], x, weight, scale, trains)
            return dx, d_weight, None
        rows, dy = x.reshape(-1, x.shape[-1]), grads[0].reshape(-1, x.shape[-1]).to(scale.dtype)
        # with n = x s and s = (mean(x^2) + epsilon)^-1/2:  dx = s (dn - n mean(dn n))
        normal, dn = rows * scale[:, None], dy * weight
        dx = scale[:, None] * (dn - normal * (dn * normal).mean(1, keepdim=True))
        d_weight = (dy * normal).sum(0).to(weight.dtype) if trains else None
        return dx.to(x.dtype).view(x.shape), d_weight, None


def _run_backward_kernel(
    launch: Any, dy: Tensor, x: Tensor, weight: Tensor, scale: Tensor, trains: bool
) -> tuple[Tensor, Tensor | None]:
    kernels = load_liger("rms_norm")
    assert kernels is not None
    block, warps, mode = launch
    rows = x.contiguous().view(-1, x.shape[-1])
    # not in place: another reader of the norm may share its gradient
    dx, d_weight = kernels.rms_norm_backward(
        dy.contiguous(), rows, weight, scale, 0.0, mode, block, warps, False, None, needs_dw=trains
    )
    return dx, d_weight if trains else None


def gate_values(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, [..., d]."""
    result: Tensor = _SiluProduct.apply(gate, up)  # type: ignore[no-untyped-call]
    return set_recomputation(result, _multiply_silu, gate, up)


def _multiply_silu(gate: Tensor, up: Tensor) -> Tensor:
    kernels = get_kernels("swiglu", gate)
    if kernels is None:
        return torch.nn.functional.silu(gate).mul_(up)
    result: Tensor = kernels.swiglu_forward(gate.contiguous(), up.contiguous())[2]
    return result


class _SiluProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return _multiply_silu(gate, up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        (dy,) = grads
        kernels = get_kernels("swiglu", gate)
        if kernels is not None:  # it writes the gradients over gate and up, whose readers have run before
            d_gate, d_up = kernels.swiglu_backward(gate.contiguous(), up.contiguous(), dy.contiguous())
            torch.autograd.graph.increment_version((gate, up))  # a second backward pass is then refused
            return d_gate.view(gate.shape), d_up.view(up.shape)
        return torch.ops.aten.silu_backward(dy * up, gate), torch.nn.functional.silu(gate).mul_(dy)


def rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Query and key [B, heads, n, d] with rotary positions (arXiv 2104.09864), in place; cos and sin [B, n, d].

    Only where `get_kernels("rope", query)` has a kernel.
    """
    kernels = load_liger("rope")
    assert kernels is not None
    rotated: tuple[Tensor, Tensor] = kernels.LigerRopeFunction.apply(query, key, cos, sin)
    return rotated
