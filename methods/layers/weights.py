"""The dense weight of a linear layer, quantized or not."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def get_dense_weight(linear: nn.Module) -> Tensor:
    """[d_out, d_in] in floating point; a quantized weight is dequantized into a copy."""
    from transformers.pytorch_utils import Conv1D

    weight: Any = linear.weight
    dense: Tensor
    kind = type(weight).__name__
    if kind == "Params4bit":
        from bitsandbytes.functional import dequantize_4bit

        dense = dequantize_4bit(weight.data, weight.quant_state)
    elif kind == "Int8Params":
        from bitsandbytes.functional import int8_vectorwise_dequant

        dense = int8_vectorwise_dequant(weight.data, weight.SCB)
    else:
        dense = weight.detach()
    if isinstance(linear, Conv1D):
        dense = dense.T
    return dense
