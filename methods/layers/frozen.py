"""Frozen entries of an adapter in block-wise codes (int8, fp4, nf4), really stored so.

    values [K, size] -> each row padded to whole blocks of 64 -> codes [K, bytes] uint8, scales [K, blocks] float32

A block lies within one replica, so a replica's codes do not depend on its neighbours in the pack.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.core.quantization import QUANTIZATIONS


class Quantized:
    """K rows of frozen entries as codes and scales; entries that train are stored as zero and kept elsewhere."""

    def __init__(self, values: Tensor, quantize: str) -> None:
        self.quantization = QUANTIZATIONS.get(quantize)
        self.size, self.dtype = values.shape[1], values.dtype
        # Made once, here: a step in a CUDA graph must not copy a table from the host.
        self.table = self.quantization.build_table(values.device)
        encoded_rows = [self._encode(row) for row in values]
        self.codes = torch.stack([codes for codes, _ in encoded_rows])
        self.scales = torch.stack([scales for _, scales in encoded_rows])

    def _encode(self, row: Tensor) -> tuple[Tensor, Tensor]:
        padded = torch.nn.functional.pad(row.float(), (0, -len(row) % self.quantization.block))
        return self.quantization.encode_blocks(padded, self.table)

    def dequantize_rows(self) -> Tensor:
        """[K, size + 1] in the training precision, a copy; the last column takes the padding of trained entries."""
        flat = self.quantization.decode_blocks(self.codes.flatten(), self.scales.flatten(), self.table)
        rows = flat.view(len(self.codes), -1)[:, : self.size].to(self.dtype)
        return torch.cat([rows, rows.new_zeros(len(rows), 1)], dim=1)

    def set_row(self, row: int, values: Tensor) -> float:
        """Replace a row by values [size], zero where entries train; returns the sum of absolute storage errors."""
        self.codes[row], self.scales[row] = self._encode(values)
        stored = self.dequantize_rows()[row, : self.size]
        return float((stored - values).abs().sum())

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows except these."""
        self.codes, self.scales = self.codes[list(rows)], self.scales[list(rows)]

    def tensors(self) -> tuple[Tensor, ...]:
        """The stored tensors: codes and scales."""
        return (self.codes, self.scales)
