"""Low-bit backbones simulated: the weights take the values that so many bits could hold, in floating point.

For the question of how a score falls with the bits. Nothing gets smaller or faster by it, so no memory or speed is
taken from a simulated level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BLOCK = 64  # weights that share a scale, as in bitsandbytes' 4-bit levels
NOTE = "simulated, scores only"


def round_to_bits(weight: Tensor, bits: int) -> Tensor:
    """Each block of 64 entries, in row-major order, rounded to the nearest of 2**bits - 1 even, symmetric levels.

    The largest is the block's largest magnitude, so an entry moves by at most that over 2 * (2**(bits - 1) - 1).
    """
    most = 2 ** (bits - 1) - 1
    wide = weight.float() if weight.dtype.itemsize < 4 else weight
    blocks = nn.functional.pad(wide.flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK)
    top = blocks.abs().amax(1, keepdim=True)
    steps = (blocks / torch.where(top > 0, top, 1) * most).round()
    values: Tensor = (steps / most * top).flatten()[: weight.numel()]
    return values.view(weight.shape).to(weight.dtype)


@torch.no_grad()
def simulate(model: nn.Module, bits: int, skip: Sequence[str]) -> None:
    """Round the weights of the linear layers that bitsandbytes would quantize: all but those named in `skip`."""
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.quantizers_utils import should_convert_module

    for name, module in model.named_modules():
        if not should_convert_module(name, list(skip)):
            continue
        if isinstance(module, nn.Linear):
            module.weight.copy_(round_to_bits(module.weight, bits))
        elif isinstance(module, Conv1D):  # bitsandbytes quantizes its transpose
            module.weight.copy_(round_to_bits(module.weight.T.contiguous(), bits).T)
