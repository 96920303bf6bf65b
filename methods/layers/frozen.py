"""Entries that do not train: in floating point, or quantized block-wise with the codes really stored."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

FrozenLevel = Literal["none", "int8", "fp4", "nf4"]
BLOCK = 64  # numbers that share one scale; a block never crosses a replica


class Store(abc.ABC):
    """K rows of `size` numbers: matrices whose trained entries are put in from elsewhere."""

    @abc.abstractmethod
    def filled(self, index: Tensor | None, values: Tensor | None) -> Tensor:
        """Flat, [K * size + 1] in the training precision, with `values` at the places `index`."""

    @abc.abstractmethod
    def again(self, index: Tensor | None, values: Tensor | None) -> Tensor:
        """The same, after `filled` with the same values."""

    @abc.abstractmethod
    def set_row(self, row: int, values: Tensor) -> float:
        """Replace a row [size], zero where entries train; returns the sum of absolute errors that storing it makes."""

    @abc.abstractmethod
    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""

    @abc.abstractmethod
    def bytes_for(self, size: int) -> int:
        """Bytes that a row of `size` numbers takes."""

    @abc.abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """What is stored."""

    def state(self) -> list[Tensor]:
        """A copy of what is stored."""
        return [tensor.clone() for tensor in self.tensors()]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Go on from what `state` gave."""
        for tensor, saved in zip(self.tensors(), state, strict=True):
            tensor.copy_(saved)


class Dense(Store):
    """Floating point, one buffer that the trained entries are written into.

    One more slot at the end takes the padding of replicas that train less.
    """

    def __init__(self, values: Tensor) -> None:
        self.size = values.shape[1]
        self.flat = torch.cat([values.flatten(), values.new_zeros(1)])

    def filled(self, index: Tensor | None, values: Tensor | None) -> Tensor:
        if index is not None and values is not None:
            self.flat.index_copy_(0, index.long(), values)
        return self.flat

    def again(self, index: Tensor | None, values: Tensor | None) -> Tensor:
        return self.flat

    def set_row(self, row: int, values: Tensor) -> float:
        self.flat[row * self.size : (row + 1) * self.size] = values
        return 0.0

    def keep(self, rows: Sequence[int]) -> None:
        self.flat = torch.cat([self.flat[:-1].view(-1, self.size)[list(rows)].flatten(), self.flat[-1:]])

    def bytes_for(self, size: int) -> int:
        return size * self.flat.element_size()

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.flat,)


class Quantized(Store):
    """bitsandbytes' block-wise codes: one byte (int8) or half a byte (fp4, nf4) a number, and a scale a block."""

    def __init__(self, values: Tensor, level: FrozenLevel) -> None:
        self.level, self.size, self.dtype = level, values.shape[1], values.dtype
        made = [self._quantize(row) for row in values]
        self.codes = torch.stack([codes for codes, _ in made])
        self.scales = torch.stack([scales for _, scales in made])

    def _quantize(self, row: Tensor) -> tuple[Tensor, Tensor]:
        from bitsandbytes import functional

        padded = torch.nn.functional.pad(row.float(), (0, -len(row) % BLOCK))
        if self.level == "int8":
            codes, state = functional.quantize_blockwise(padded, code=self._map(row.device), blocksize=BLOCK)
        else:
            codes, state = functional.quantize_4bit(padded, blocksize=BLOCK, quant_type=self.level)
        return codes.flatten(), state.absmax

    @staticmethod
    def _map(device: torch.device) -> Tensor:
        from bitsandbytes import functional

        made: Tensor = functional.create_linear_map(signed=True, total_bits=8)
        made[made.abs() < 1e-6] = 0  # its middle is 7e-9, and zero must stay zero: a pack's padding has to add nothing
        return made.to(device)

    def filled(self, index: Tensor | None, values: Tensor | None) -> Tensor:
        flat = self._values()
        return flat if index is None or values is None else flat.index_copy_(0, index.long(), values)

    def again(self, index: Tensor | None, values: Tensor | None) -> Tensor:
        return self.filled(index, values)

    def _values(self) -> Tensor:
        from bitsandbytes import functional

        per_row = self.size + -self.size % BLOCK
        shape, codes, scales = (len(self.codes) * per_row,), self.codes.flatten(), self.scales.flatten()
        state: Any
        if self.level == "int8":
            state = functional.QuantState(scales, code=self._map(codes.device), blocksize=BLOCK, dtype=torch.float32)
            flat = functional.dequantize_blockwise(codes, state)
        else:
            table = functional.get_4bit_type(self.level, device=codes.device, blocksize=BLOCK)
            state = functional.QuantState(scales, torch.Size(shape), table, BLOCK, self.level, torch.float32)
            flat = functional.dequantize_4bit(codes[:, None], state)
        rows = flat.view(-1, per_row)[:, : self.size].to(self.dtype)
        return torch.cat([rows.flatten(), rows.new_zeros(1)])

    def set_row(self, row: int, values: Tensor) -> float:
        self.codes[row], self.scales[row] = self._quantize(values)
        stored = self._values()[row * self.size : (row + 1) * self.size]
        return float((stored - values).abs().sum())

    def keep(self, rows: Sequence[int]) -> None:
        self.codes, self.scales = self.codes[list(rows)], self.scales[list(rows)]

    def bytes_for(self, size: int) -> int:
        blocks = -(-size // BLOCK)
        per_block = BLOCK if self.level == "int8" else BLOCK // 2
        return blocks * (per_block * self.codes.element_size() + self.scales.element_size())

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.codes, self.scales)


def store(values: Tensor, level: FrozenLevel) -> Store:
    """[K, size] -> where they are kept."""
    return Dense(values) if level == "none" else Quantized(values, level)
