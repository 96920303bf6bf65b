"""LLM.int8() of bitsandbytes (arXiv 2208.07339), without outlier columns.

A layer stores weight [d_out, d_in] int8, and rows [d_out] float32, the largest magnitude of each row.
A vector stores codes int8 and, unlike a layer, one float32 scale for each block of 64 entries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.quantization import (
    Quantization,
    StoredDtype,
    StoredTensor,
    register_quantization,
    require_bitsandbytes,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Int8(Quantization):
    """8-bit codes with one scale per row, in bitsandbytes' Linear8bitLt."""

    weight_class: ClassVar[str | None] = "Int8Params"
    block_bytes: ClassVar[int] = 64
    saved_operations: ClassVar[frozenset[str]] = frozenset(
        {"bitsandbytes::int8_scaled_mm", "bitsandbytes::int8_linear_matmul"}
    )

    def build_config(self, skip: Sequence[str], compute: torch.dtype) -> Any:
        require_bitsandbytes(self.name)
        from transformers import BitsAndBytesConfig

        # Outlier columns are found over the whole batch, so with a threshold neighbours in a pack would matter.
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0, llm_int8_skip_modules=list(skip))

    def layout(self, rows: int, columns: int, dtype: StoredDtype = "float32") -> tuple[StoredTensor, ...]:
        return StoredTensor("weight", (rows, columns), "int8"), StoredTensor("rows", (rows,), "float32")

    def to_dense(self, weight: Any) -> Tensor:
        from bitsandbytes.functional import int8_vectorwise_dequant

        dense: Tensor = int8_vectorwise_dequant(weight.data, weight.SCB)
        return dense

    def list_state(self, module: nn.Module, weight: Any) -> Iterable[Tensor]:
        rows = getattr(weight, "SCB", None)
        if rows is None:  # The first forward pass moves the scales from the weight to the module.
            rows = getattr(getattr(module, "state", None), "SCB", None)
        return () if rows is None else (rows,)

    def build_fake_layer(self, linear: nn.Linear, compute: torch.dtype) -> nn.Module:
        from harness.models.fake_layers import FakeInt8

        return FakeInt8(linear, self, compute)

    def build_table(self, device: torch.device) -> Tensor:
        from bitsandbytes import functional

        table: Tensor = functional.create_linear_map(signed=True, total_bits=8)
        # The middle of bitsandbytes' table is 7e-9. Zero must stay zero, because the padding of a pack adds nothing.
        table[table.abs() < 1e-6] = 0
        return table.to(device)

    def encode_blocks(self, values: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        from bitsandbytes import functional

        codes, state = functional.quantize_blockwise(values, code=table, blocksize=self.block)
        return codes.flatten(), state.absmax

    def decode_blocks(self, codes: Tensor, scales: Tensor, table: Tensor) -> Tensor:
        import torch
        from bitsandbytes import functional

        state = functional.QuantState(scales, code=table, blocksize=self.block, dtype=torch.float32)
        values: Tensor = functional.dequantize_blockwise(codes, state)
        return values


register_quantization(Int8(name="int8", summary="8-bit codes with a scale per row (LLM.int8, arXiv 2208.07339)"))
