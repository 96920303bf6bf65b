"""4-bit codes of bitsandbytes (arXiv 2305.14314): two per byte, and a scale for each block of 64 weights.

    fp4, nf4   weight [ceil(n / 2), 1] uint8 --- absmax [blocks] float32, table [16] float32
    nf4-dq     weight [ceil(n / 2), 1] uint8 --- absmax [blocks] uint8, table [16] float32
               and for the scales: nested [ceil(blocks / 256)] and nested_table [256] and offset [] float32

with n = d_out * d_in weights in row-major order and blocks = ceil(n / 64).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

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

NESTED_BLOCK = 256
"""Scales that share a scale in double quantization."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FourBit(Quantization):
    """4-bit codes from a table of 16 numbers; with `double`, the scales are stored in 8 bits too."""

    table: Literal["fp4", "nf4"]
    double: bool = False
    weight_class: ClassVar[str | None] = "Params4bit"
    block_bytes: ClassVar[int] = 32
    saved_operations: ClassVar[frozenset[str]] = frozenset({"bitsandbytes::gemm_4bit", "bitsandbytes::gemv_4bit"})

    def build_config(self, skip: Sequence[str], compute: torch.dtype) -> Any:
        require_bitsandbytes(self.name)
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.table,
            bnb_4bit_use_double_quant=self.double,
            bnb_4bit_compute_dtype=compute,
            llm_int8_skip_modules=list(skip),
        )

    def layout(self, rows: int, columns: int, dtype: StoredDtype = "float32") -> tuple[StoredTensor, ...]:
        blocks = -(-rows * columns // self.block)
        codes = StoredTensor("weight", ((rows * columns + 1) // 2, 1), "uint8")
        table = StoredTensor("table", (16,), "float32")
        if not self.double:
            return codes, table, StoredTensor("absmax", (blocks,), "float32")
        return (
            codes,
            table,
            StoredTensor("absmax", (blocks,), "uint8"),
            StoredTensor("nested", (-(-blocks // NESTED_BLOCK),), "float32"),
            StoredTensor("nested_table", (256,), "float32"),
            StoredTensor("offset", (), "float32"),
        )

    def to_dense(self, weight: Any) -> Tensor:
        from bitsandbytes.functional import dequantize_4bit

        dense: Tensor = dequantize_4bit(weight.data, weight.quant_state)
        return dense

    def list_state(self, module: nn.Module, weight: Any) -> Iterable[Tensor]:
        return _list_tensors(weight.quant_state)

    def count_weights(self, weight: Any) -> int:
        count: int = weight.quant_state.shape.numel()
        return count

    @property
    def stores_vectors(self) -> bool:
        return not self.double

    def build_table(self, device: torch.device) -> Tensor:
        from bitsandbytes import functional

        table: Tensor = functional.get_4bit_type(self.table, device=device, blocksize=self.block)
        return table

    def encode_blocks(self, values: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        from bitsandbytes import functional

        codes, state = functional.quantize_4bit(values, blocksize=self.block, quant_type=self.table)
        return codes.flatten(), state.absmax

    def decode_blocks(self, codes: Tensor, scales: Tensor, table: Tensor) -> Tensor:
        import torch
        from bitsandbytes import functional

        shape = torch.Size((len(scales) * self.block,))
        state = functional.QuantState(scales, shape, table, self.block, self.table, torch.float32)
        values: Tensor = functional.dequantize_4bit(codes[:, None], state)
        return values

    def build_fake_layer(self, linear: nn.Linear, compute: torch.dtype) -> nn.Module:
        from harness.models.fake_layers import FakeFourBit

        return FakeFourBit(linear, self, compute)


def _list_tensors(state: Any) -> Iterator[Tensor]:
    """The tensors of a bitsandbytes QuantState, and of the nested one of double quantization."""
    while state is not None:
        tensors = (state.absmax, state.code, getattr(state, "offset", None))
        yield from (tensor for tensor in tensors if tensor is not None)
        state = state.state2


register_quantization(FourBit(name="fp4", summary="4-bit floating-point codes, a scale per 64 weights", table="fp4"))
register_quantization(
    FourBit(name="nf4", summary="4-bit codes at quantiles of the normal (arXiv 2305.14314)", table="nf4")
)
register_quantization(
    FourBit(name="nf4-dq", summary="nf4 with double quantization: its scales in 8 bits", table="nf4", double=True)
)
