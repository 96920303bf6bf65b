"""The dropout of dropout.py as one Triton kernel: the same bits, and no mask saved for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def _mix64(h):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    h = (h ^ (h >> 30)) * -4658895280553007687
    h = (h ^ (h >> 27)) * -7723592293110705685
    return h ^ (h >> 31)


@triton.jit  # type: ignore[untyped-decorator]
def _dropout(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    x, y, seeds, step, threshold, scale, site, per_replica, per_row, width, BLOCK: tl.constexpr
):
    replica = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < per_replica
    # The keys of this replica, site and step; the arithmetic must stay that of dropout.py bit by bit.
    golden = -7046029254386353131
    key = _mix64(_mix64(tl.load(seeds + replica) ^ site) + golden * (tl.load(step) + 1))
    low = key.to(tl.int32).to(tl.uint32, bitcast=True)
    high = (key >> 32).to(tl.int32).to(tl.uint32, bitcast=True)
    # murmur3's finalizer of the element's position, which does not depend on padding.
    h = ((at // per_row) * width + at % per_row).to(tl.uint32) ^ low
    h ^= h >> 16
    h *= 0x85EBCA6B
    h ^= h >> 13
    h *= 0xC2B2AE35
    h ^= h >> 16
    h ^= high
    h *= 0x2C1B3C6D
    h ^= h >> 15
    keep = h.to(tl.int32, bitcast=True) >= tl.load(threshold + replica)
    # int64, because K * n may exceed the range of int32.
    place = replica.to(tl.int64) * per_replica + at
    value = tl.load(x + place, mask=inside)
    factor = tl.load(scale + replica)
    tl.store(y + place, tl.where(keep, value * factor, 0.0).to(value.dtype), mask=inside)


def apply(
    x: Tensor, seeds: Tensor, step: Tensor, threshold: Tensor, scale: Tensor, site: int, per_row: int, width: int
) -> Tensor:
    """x [K, n] after dropout; seeds [K] int64, step [] int64, threshold [K] int32, scale [K]."""
    y: Tensor = _Dropout.apply(x, seeds, step, threshold, scale, (site, per_row, width))  # type: ignore[no-untyped-call]
    return y


def _launch(x: Tensor, tensors: tuple[Tensor, ...], numbers: tuple[int, int, int]) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    k, n = x.shape
    site, per_row, width = numbers
    _dropout[(triton.cdiv(n, BLOCK), k)](x, y, *tensors, site, n, per_row, width, BLOCK=BLOCK)
    return y


class _Dropout(torch.autograd.Function):
    """The backward pass draws the same mask again, because the step advances only after it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seeds: Tensor, step: Tensor, threshold: Tensor, scale: Tensor, n: Any) -> Tensor:
        ctx.tensors, ctx.numbers = (seeds, step, threshold, scale.to(x.dtype)), n
        return _launch(x, ctx.tensors, n)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        return _launch(grads[0], ctx.tensors, ctx.numbers), None, None, None, None, None
