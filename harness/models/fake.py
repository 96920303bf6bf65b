"""A backbone without its weights: fake tensors that know shape, precision and storage, and hold no numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.core.cell import SIMULATED, Precision, Quantize
from harness.models.load import FULL_PRECISION, build_model

if TYPE_CHECKING:
    from harness.models.source import ModelSource

BLOCK, NESTED_BLOCK = 64, 256
"""Numbers that share a scale in bitsandbytes' 4-bit codes, and scales that share one in double quantization."""


def build_fake_model(
    source: ModelSource,
    outputs: int | None,
    *,
    dtype: Precision,
    quantize: Quantize,
    trained_backbone: bool,
    device: str,
) -> nn.Module:
    """What `load_model` gives, in shapes. Call it within a FakeTensorMode."""
    kind = torch.bfloat16 if dtype == "bf16" and not trained_backbone else torch.float32
    model = build_model(source, outputs, device, kind)
    if quantize != "none" and quantize not in SIMULATED:
        apart = [*FULL_PRECISION, *(getattr(model, "_keep_in_fp32_modules", None) or ())]
        _quantize(model, quantize, kind, apart)
    return model.requires_grad_(trained_backbone)


def _quantize(model: nn.Module, level: Quantize, compute: torch.dtype, apart: list[str]) -> None:
    for path, module in list(model.named_modules()):
        if type(module) is nn.Linear and not _is_skipped(path, apart):
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, FakeQuantized(module, level, compute))


def _is_skipped(path: str, names: list[str]) -> bool:
    """As transformers reads its list of modules that stay as they are."""
    return any(path == n or path.startswith(f"{n}.") or path.endswith(f".{n}") for n in names)


class FakeQuantized(nn.Linear):
    """The storage and the temporaries of bitsandbytes' Linear4bit and Linear8bitLt."""

    def __init__(self, linear: nn.Linear, level: Quantize, compute: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.level, self.compute_dtype = level, compute
        count = linear.in_features * linear.out_features
        shape = (self.out_features, self.in_features) if level == "int8" else ((count + 1) // 2, 1)
        codes = torch.empty(shape, dtype=torch.int8 if level == "int8" else torch.uint8)
        self.weight = nn.Parameter(codes, requires_grad=False)
        for name, value in _build_scales(level, count, self.out_features).items():
            self.register_buffer(f"quantization_{name}", value)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor
        if self.level == "int8":
            out = _Int8.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
            return out
        bias = None if self.bias is None else self.bias.to(self.compute_dtype)
        shape = (self.out_features, self.in_features)
        out = _FourBit.apply(x.to(self.compute_dtype), self.weight, bias, shape)  # type: ignore[no-untyped-call]
        return out.to(x.dtype)


def _build_scales(level: Quantize, count: int, rows: int) -> dict[str, Tensor]:
    """What is stored beside the codes of a matrix of `count` numbers."""
    blocks = -(-count // BLOCK)
    if level == "int8":
        return {"rows": torch.empty(rows, dtype=torch.float32)}
    table = {"table": torch.empty(16, dtype=torch.float32)}
    if level != "nf4-dq":
        return table | {"absmax": torch.empty(blocks, dtype=torch.float32)}
    nested = torch.empty(-(-blocks // NESTED_BLOCK), dtype=torch.float32)
    codes = torch.empty(blocks, dtype=torch.uint8)
    inner = torch.empty(256, dtype=torch.float32)
    return table | {"absmax": codes, "nested": nested, "nested_table": inner, "offset": torch.empty(())}


class _FourBit(torch.autograd.Function):
    """The weight is put together in the forward and again in the backward pass; nothing of x is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, bias: Tensor | None, shape: tuple[int, int]) -> Tensor:
        ctx.shape = shape
        return nn.functional.linear(x, x.new_empty(shape), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        return grads[0] @ grads[0].new_empty(ctx.shape), None, None, None


class _Int8(torch.autograd.Function):
    """x goes through half precision to codes with a scale a row; x itself is kept, as bitsandbytes does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, bias: Tensor | None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        half = rows.to(torch.float16)
        small, _scale = torch.empty_like(half, dtype=torch.int8), half.new_empty(len(half), dtype=torch.float32)
        del half
        out = rows.new_empty(len(rows), len(codes))
        sums = torch.empty_like(out, dtype=torch.int32)
        del small, sums
        ctx.kept, ctx.codes = rows, codes
        return out.view(*x.shape[:-1], len(codes))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return grads[0] @ ctx.codes.to(grads[0].dtype), None, None
