"""The product with a frozen weight of the backbone, whose gradient is computed without autograd's graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.core.quantization import get_quantization_of


def is_plain_product(base: Any) -> bool:
    """Whether `base` is y = W x + bias with a frozen weight that `read_weight` can give.

    That is a linear layer, GPT-2's Conv1D, or a 4-bit layer, which dequantizes its weight again in the backward pass.
    LLM.int8() multiplies in 8 bits with scales of its own, so its layer computes its own gradient.
    """
    if any(parameter.requires_grad for parameter in base.parameters()):
        return False
    return type(base).__name__ in ("Linear", "Conv1D", "Linear4bit", "FakeFourBit")


@torch.no_grad()
def read_weight(base: Any, dtype: torch.dtype) -> Tensor:
    """The weight [d_out, d_in] in `dtype`; a view or the weight itself where nothing has to be converted."""
    if hasattr(base, "build_dense"):  # a layer without numbers, for predictions
        dense: Tensor = base.build_dense(dtype)
        return dense
    quantization = get_quantization_of(base.weight)
    if not quantization.is_float:
        return quantization.to_dense(base.weight).to(dtype)
    weight: Tensor = base.weight.detach().to(dtype)
    return weight if isinstance(base, nn.Linear) else weight.T


def add_input_gradient(total: Tensor | None, dy: Tensor, weight: Tensor) -> Tensor:
    """total + dy W [n, d_in], in place; dy [n, d_out], W [d_out, d_in]. None counts as zero."""
    return dy @ weight if total is None else total.addmm_(dy, weight)
