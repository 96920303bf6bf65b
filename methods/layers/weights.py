"""The dense weight of a linear layer, quantized or not."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from harness.core.quantization import get_quantization_of


def get_dense_weight(linear: nn.Module) -> Tensor:
    """The weight [d_out, d_in] in floating point; a quantized weight is dequantized into a copy."""
    from transformers.pytorch_utils import Conv1D

    weight: Any = linear.weight
    dense = get_quantization_of(weight).to_dense(weight)
    return dense.T if isinstance(linear, Conv1D) else dense
