"""Simulated quantization: weights take the values that few bits can hold, and stay in floating point.

It answers how a score falls with the bits. Nothing becomes smaller or faster, so memory and speed are not measured.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.core.quantization import Quantization, register_quantization

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated(Quantization, abc.ABC):
    """A type of which only the rounding exists; a new one overrides `round_weight`."""

    simulated: bool = True

    @abc.abstractmethod
    def round_weight(self, weight: Tensor) -> Tensor:
        """A weight [d_out, d_in] at the nearest values of the type, in the same dtype."""

    def transform(self, model: nn.Module, skip: Sequence[str]) -> None:
        from harness.models.rounding import round_linears

        round_linears(model, self.round_weight, skip)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulatedBits(Simulated):
    """Even, symmetric values of `bits` bits, scaled to the largest magnitude of each block of 64 weights."""

    bits: int

    def round_weight(self, weight: Tensor) -> Tensor:
        from harness.models.rounding import round_to_bits

        return round_to_bits(weight, self.bits)


for bits in (2, 3, 6):
    register_quantization(SimulatedBits(name=f"sim{bits}", summary=f"{bits} bits, simulated: scores only", bits=bits))
