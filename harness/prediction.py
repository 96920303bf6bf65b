"""What a prediction of memory and FLOPs is asked for, and what it says. Imports no torch: stored ones need none."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from harness.cell import Cell
from harness.contracts import Method, Task
from harness.record import MemoryShares

if TYPE_CHECKING:
    from harness.model_source import ModelSource


@dataclasses.dataclass(frozen=True)
class Step:
    """What a prediction needs: cells that train as one batch at `length` tokens a row, on a kind of device."""

    cells: tuple[Cell, ...]
    methods: tuple[Method, ...]
    task: Task
    source: ModelSource
    length: int
    device: str

    def replicas(self, k: int) -> Step:
        """The same with k copies of the first cell."""
        return dataclasses.replace(self, cells=self.cells[:1] * k, methods=self.methods[:1] * k)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One training step of K replicas at the full length. `forward_flops` are those of the forward pass alone."""

    k: int
    shares: MemoryShares
    flops: int
    forward_flops: int
    launches: int

    @property
    def peak(self) -> int:
        return self.shares.total

    def at(self, k: int, other: Prediction) -> Prediction:
        """The same step with k replicas, on the line through this prediction and another one."""

        def line(mine: int, theirs: int) -> int:
            return round(mine + (theirs - mine) * (k - self.k) / (other.k - self.k))

        names = type(self.shares).model_fields
        shares = {n: max(0, line(getattr(self.shares, n), getattr(other.shares, n))) for n in names}
        numbers = {n: line(getattr(self, n), getattr(other, n)) for n in ("flops", "forward_flops", "launches")}
        return Prediction(k, MemoryShares(**shares), **numbers)
