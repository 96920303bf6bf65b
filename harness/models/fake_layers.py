"""Linear layers with the storage and the temporaries of bitsandbytes' layers, for tensors without numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.core.quantization import Quantization


class FakeQuantized(nn.Linear):
    """The tensors of a quantization type's layout: the weight is a parameter, scales and tables are buffers."""

    def __init__(self, linear: nn.Linear, quantization: Quantization, compute: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.compute_dtype = compute
        codes, *state = quantization.layout(self.out_features, self.in_features)
        self.weight = nn.Parameter(torch.empty(codes.shape, dtype=getattr(torch, codes.dtype)), requires_grad=False)
        for tensor in state:  # the step trace knows quantization state by this prefix
            value = torch.empty(tensor.shape, dtype=getattr(torch, tensor.dtype))
            self.register_buffer(f"quantization_{tensor.name}", value)


class FakeInt8(FakeQuantized):
    """Memory of bitsandbytes' Linear8bitLt."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Int8Product.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


class FakeFourBit(FakeQuantized):
    """Memory of bitsandbytes' Linear4bit."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(self.compute_dtype)
        shape = (self.out_features, self.in_features)
        out: Tensor = _FourBitProduct.apply(x.to(self.compute_dtype), self.weight, bias, shape)  # type: ignore[no-untyped-call]
        return out.to(x.dtype)

    def build_dense(self, dtype: torch.dtype) -> Tensor:
        """The dequantized weight [d_out, d_in], without numbers."""
        return self.weight.new_empty((self.out_features, self.in_features), dtype=dtype)


class _FourBitProduct(torch.autograd.Function):
    """The weight is dequantized in the forward pass and again in the backward pass; x is not saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, bias: Tensor | None, shape: tuple[int, int]) -> Tensor:
        ctx.shape = shape
        return nn.functional.linear(x, x.new_empty(shape), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        return grads[0] @ grads[0].new_empty(ctx.shape), None, None, None


class _Int8Product(torch.autograd.Function):
    """x is quantized in half precision with a scale per row; x itself is saved, as bitsandbytes does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, bias: Tensor | None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        half = rows.to(torch.float16)
        small, _scale = torch.empty_like(half, dtype=torch.int8), half.new_empty(len(half), dtype=torch.float32)
        del half  # freed before the product, as in bitsandbytes: the peak depends on it
        out = rows.new_empty(len(rows), len(codes))
        sums = torch.empty_like(out, dtype=torch.int32)
        del small, sums
        ctx.saved_rows, ctx.codes = rows, codes
        return out.view(*x.shape[:-1], len(codes))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return grads[0] @ ctx.codes.to(grads[0].dtype), None, None
