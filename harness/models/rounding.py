"""Rounding of a loaded model's weights, for simulated quantization types (harness/models/quantization/simulated.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

BLOCK = 64
"""Weights that share a scale, as in bitsandbytes' 4-bit types."""


def round_to_bits(weight: Tensor, bits: int) -> Tensor:
    """The weight with each block of 64 entries (row-major) at the nearest of 2**bits - 1 even, symmetric values.

    The largest value is the block's largest magnitude, so an entry moves by at most that over 2 * (2**(bits - 1) - 1).
    """
    most = 2 ** (bits - 1) - 1
    wide = weight.float() if weight.dtype.itemsize < 4 else weight
    blocks = nn.functional.pad(wide.flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK)
    top = blocks.abs().amax(1, keepdim=True)
    # A block of zeros has no scale; any divisor but 0 leaves it at zero.
    steps = (blocks / torch.where(top > 0, top, 1) * most).round()
    values: Tensor = (steps / most * top).flatten()[: weight.numel()]
    return values.view(weight.shape).to(weight.dtype)


@torch.no_grad()
def round_linears(model: nn.Module, round_weight: Callable[[Tensor], Tensor], skip: Sequence[str]) -> None:
    """Round in place the weights that bitsandbytes would quantize: linear layers except those named in `skip`."""
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.quantizers_utils import should_convert_module

    for name, module in model.named_modules():
        if not should_convert_module(name, list(skip)):
            continue
        if isinstance(module, nn.Linear):
            module.weight.copy_(round_weight(module.weight))
        elif isinstance(module, Conv1D):  # it stores [d_in, d_out], and bitsandbytes quantizes the transpose
            module.weight.copy_(round_weight(module.weight.T.contiguous()).T)
