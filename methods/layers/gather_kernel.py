"""Gather and cast the gradients of trained entries from those of whole matrices, in one Triton kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _gather(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    full, index, out, first, size, taken, stride, BLOCK: tl.constexpr
):
    # int64, because replica * size overflows int32 in large packs.
    replica = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < taken
    place = tl.load(index + replica * stride + at, mask=inside, other=0) - first
    value = tl.load(full + replica * size + place, mask=inside & (place < size), other=0.0)
    tl.store(out + replica * taken + at, value.to(out.dtype.element_ty), mask=inside)


def gathered(full: Tensor, index: Tensor, first: int, dtype: torch.dtype) -> Tensor:
    """Entries [K, M] of `full` [K, ...] at positions `index - first`; zero at positions beyond it."""
    full = full.contiguous()
    k, count = index.shape
    out = torch.empty(k, count, dtype=dtype, device=full.device)
    grid = (triton.cdiv(count, BLOCK), k)
    _gather[grid](full, index, out, first, full[0].numel(), count, index.stride(0), BLOCK=BLOCK)
    return out
