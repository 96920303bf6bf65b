"""Counter-based dropout: a mask entry is a hash of (seed, step, site, position in the replica).

    seed [K], step, site --mix64--> two keys [K, 1] --+
    row * width + offset in the row  [1, n] ----------+--murmur3--> uniform int32 [K, n] >= threshold [K, 1]: keep

A replica therefore draws the same masks alone, in any slot of any pack, at any padding and on any device. No global
generator advances, so CUDA graphs can capture it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_MULTIPLY = (-2048144789, -1028477387, 0x2C1B3C6D)  # murmur3's finalizer as int32, and one more odd constant
_GOLDEN = -7046029254386353131  # 2**64 / golden ratio, odd, as int64


def _mix64(h: Tensor) -> Tensor:
    """splitmix64's finalizer on int64 (wrapping); arithmetic shifts are good enough and the same everywhere."""
    h = (h ^ (h >> 30)) * -4658895280553007687
    h = (h ^ (h >> 27)) * -7723592293110705685
    return h ^ (h >> 31)


@dataclasses.dataclass
class Clock:
    """Seeds [K] and the step, on the device; `stride`: positions of the longest row, so padding changes no mask."""

    seeds: Tensor
    step: Tensor
    stride: int

    @classmethod
    def start(cls, seeds: Sequence[int], stride: int, device: torch.device | str) -> Clock:
        values = torch.tensor(list(seeds), dtype=torch.int64, device=device)
        return cls(values, torch.zeros((), dtype=torch.int64, device=device), stride)

    def keys(self, site: int) -> tuple[Tensor, Tensor]:
        """Two int32 keys [K, 1] for a site at the current step."""
        h = _mix64(_mix64(self.seeds ^ site) + _GOLDEN * (self.step + 1))
        return h.to(torch.int32)[:, None], (h >> 32).to(torch.int32)[:, None]

    def keep(self, rows: Sequence[int]) -> None:
        self.seeds = self.seeds[list(rows)]


def _shift_right(h: Tensor, bits: int) -> Tensor:
    # torch shifts int32 arithmetically; the mask clears the copies of the sign bit.
    return (h >> bits) & ((1 << (32 - bits)) - 1)


def _draw_uniform(index: Tensor, keys: tuple[Tensor, Tensor]) -> Tensor:
    """int32 [K, n], uniform over all 2**32 values: murmur3's finalizer with two keys."""
    h = index ^ keys[0]
    h ^= _shift_right(h, 16)
    h *= _MULTIPLY[0]
    h ^= _shift_right(h, 13)
    h *= _MULTIPLY[1]
    h ^= _shift_right(h, 16)
    h ^= keys[1]
    h *= _MULTIPLY[2]
    h ^= _shift_right(h, 15)
    return h


class _Apply(torch.autograd.Function):
    """x * keep * scale; saves only the boolean mask for the backward pass (1 byte per element)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(keep, scale)
        return torch.where(keep, x * scale, 0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        keep, scale = ctx.saved_tensors
        return torch.where(keep, grads[0] * scale, 0), None, None


class CounterDropout(nn.Module):
    """Dropout of x [K*B, ..., d] with one rate per replica, `p` [K]; the identity in evaluation mode.

    `name` identifies the site: masks depend on it and not on the other modules of the model.
    """

    def __init__(self, p: Sequence[float], name: str) -> None:
        super().__init__()
        # 63 bits, so that the number fits into a signed int64 on the device.
        self.site = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
        self.p = list(p)
        self.clock: Clock | None = None

    def bind(self, clock: Clock) -> None:
        """Use a clock, on its device."""
        self.clock = clock
        rate = torch.tensor(self.p, dtype=torch.float64, device=clock.seeds.device)
        # A hash is uniform over int32, so it is below the threshold with probability p.
        # p = 0 gives the smallest int32, which every hash reaches: such a replica keeps all entries, times exactly 1.
        self.threshold = (rate * 2**32 - 2**31).round().to(torch.int32)[:, None]
        self.scale = (1.0 / (1.0 - rate))[:, None]

    def keep_rows(self, rows: Sequence[int]) -> None:
        self.p = [self.p[row] for row in rows]
        if self.clock is not None:
            self.bind(self.clock)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not any(self.p):
            return x
        if self.clock is None:
            raise RuntimeError("CounterDropout has no clock: call install_dropout after the method is attached")
        k = len(self.p)
        per_row, width = _compute_row_layout(x.shape, self.clock.stride)
        if x.is_cuda and (fused := load_fused_kernel("harness.replicas.dropout_kernel")) is not None:
            clock, flat = self.clock, x.reshape(k, -1)
            output: Tensor = fused.apply(
                flat, clock.seeds, clock.step, self.threshold, self.scale, self.site, per_row, width
            )
            return output.view(x.shape)
        index = _build_positions(x.shape[0] // k, per_row, width, x.device)
        keep = _draw_uniform(index, self.clock.keys(self.site)) >= self.threshold
        y: Tensor = _Apply.apply(  # type: ignore[no-untyped-call]
            x.reshape(k, -1), keep, self.scale.to(x.dtype)
        )
        return y.view(x.shape)


@functools.cache
def load_fused_kernel(module: str) -> Any:
    """The module of a fused kernel; None where Triton is not installed."""
    return importlib.import_module(module) if importlib.util.find_spec("triton") is not None else None


def _compute_row_layout(shape: torch.Size, stride: int) -> tuple[int, int]:
    """(elements of a row of x [rows, ..., d], elements between the starts of rows: those of the longest row)."""
    per_row = shape[1:].numel()
    return per_row, stride * shape[-1] if len(shape) > 2 else per_row


def _build_positions(rows: int, per_row: int, width: int, device: torch.device) -> Tensor:
    """int32 [1, n]: row * width + offset in the row, which does not depend on the padded length."""
    row = torch.arange(rows, dtype=torch.int32, device=device)[:, None]
    offset = torch.arange(per_row, dtype=torch.int32, device=device)[None, :]
    return (row * width + offset).reshape(1, -1)
