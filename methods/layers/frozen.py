"""Entries that do not train, quantized block-wise with the codes really stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

FrozenLevel = Literal["none", "int8", "fp4", "nf4"]
BLOCK = 64  # numbers that share one scale; a block never crosses a replica


def count_quantized_bytes(size: int, level: FrozenLevel) -> int:
    """Bytes of the codes (one byte or half a byte a number) and float32 scales of `size` numbers."""
    return -(-size // BLOCK) * ((BLOCK if level == "int8" else BLOCK // 2) + 4)


class Quantized:
    """K rows of numbers in bitsandbytes' block-wise codes: one byte (int8) or half a byte (fp4, nf4) a number.

    And a scale a block. Entries that train are zero here, and put in from elsewhere.
    """

    def __init__(self, values: Tensor, level: FrozenLevel) -> None:
        self.level, self.size, self.dtype = level, values.shape[1], values.dtype
        self.table = self._build_table(values.device)  # now: a captured step copies nothing from the host
        quantized_rows = [self._quantize(row) for row in values]
        self.codes = torch.stack([codes for codes, _ in quantized_rows])
        self.scales = torch.stack([scales for _, scales in quantized_rows])

    def _quantize(self, row: Tensor) -> tuple[Tensor, Tensor]:
        from bitsandbytes import functional

        padded = torch.nn.functional.pad(row.float(), (0, -len(row) % BLOCK))
        if self.level == "int8":
            codes, state = functional.quantize_blockwise(padded, code=self.table, blocksize=BLOCK)
        else:
            codes, state = functional.quantize_4bit(padded, blocksize=BLOCK, quant_type=self.level)
        return codes.flatten(), state.absmax

    def _build_table(self, device: torch.device) -> Tensor:
        """The numbers that codes stand for, on the scale of 1."""
        from bitsandbytes import functional

        table: Tensor
        if self.level != "int8":
            table = functional.get_4bit_type(self.level, device=device, blocksize=BLOCK)
            return table
        table = functional.create_linear_map(signed=True, total_bits=8)
        table[table.abs() < 1e-6] = (
            0  # its middle is 7e-9, and zero must stay zero: a pack's padding has to add nothing
        )
        return table.to(device)

    def dequantize_rows(self) -> Tensor:
        """[K, size + 1] in the training precision, a copy; the last column takes the padding of trained entries."""
        from bitsandbytes import functional

        per_row = self.size + -self.size % BLOCK
        shape, codes, scales = (len(self.codes) * per_row,), self.codes.flatten(), self.scales.flatten()
        state: Any
        if self.level == "int8":
            state = functional.QuantState(scales, code=self.table, blocksize=BLOCK, dtype=torch.float32)
            flat = functional.dequantize_blockwise(codes, state)
        else:
            state = functional.QuantState(scales, torch.Size(shape), self.table, BLOCK, self.level, torch.float32)
            flat = functional.dequantize_4bit(codes[:, None], state)
        rows = flat.view(-1, per_row)[:, : self.size].to(self.dtype)
        return torch.cat([rows, rows.new_zeros(len(rows), 1)], dim=1)

    def set_row(self, row: int, values: Tensor) -> float:
        """Replace a row [size], zero where entries train; returns the sum of absolute errors that storing it makes."""
        self.codes[row], self.scales[row] = self._quantize(values)
        stored = self.dequantize_rows()[row, : self.size]
        return float((stored - values).abs().sum())

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""
        self.codes, self.scales = self.codes[list(rows)], self.scales[list(rows)]

    def tensors(self) -> tuple[Tensor, ...]:
        """What is stored."""
        return (self.codes, self.scales)
