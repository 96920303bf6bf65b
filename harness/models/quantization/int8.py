"""LLM.int8() of bitsandbytes (arXiv 2208.07339), without outlier columns.

Stored: weight [d_out, d_in] int8, and rows [d_out] float32, the largest magnitude of each row.
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


register_quantization(Int8(name="int8", summary="8-bit codes with a scale per row (LLM.int8, arXiv 2208.07339)"))
