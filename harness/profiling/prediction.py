"""The input and the result of a prediction of memory and FLOPs.

Imports no torch, so that a plan with stored predictions does not have to load it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from harness.core.cell import Cell
from harness.core.method import Method, Task
from harness.core.profile import MemoryShares

if TYPE_CHECKING:
    from harness.models.source import ModelSource


@dataclasses.dataclass(frozen=True)
class Step:
    """A training step to predict: cells that train as one batch with `length` tokens per row, on a kind of device."""

    cells: tuple[Cell, ...]
    methods: tuple[Method, ...]
    task: Task
    source: ModelSource
    length: int
    device: str

    def replicas(self, k: int) -> Step:
        """The step with k copies of the first cell."""
        return dataclasses.replace(self, cells=self.cells[:1] * k, methods=self.methods[:1] * k)


def set_batch(step: Step, batch: int) -> Step:
    """The step with so many rows per batch."""
    cells = []
    for cell in step.cells:
        protocol = cell.protocol.model_copy(update={"batch_size": batch})
        cells.append(cell.model_copy(update={"protocol": protocol}))
    return dataclasses.replace(step, cells=tuple(cells))


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One training step of K replicas with rows of the full length.

    `shares` are bytes at the peak by category; `launches` counts kernels; `forward_flops` are those of the forward
    pass alone, an estimate for evaluation.
    """

    k: int
    shares: MemoryShares
    flops: int
    forward_flops: int
    launches: int

    @property
    def peak(self) -> int:
        return self.shares.total

    def at(self, k: int, other: Prediction) -> Prediction:
        """The step with k replicas, by a line through this prediction and `other`, which has another k."""

        def line(mine: int, theirs: int) -> int:
            return round(mine + (theirs - mine) * (k - self.k) / (other.k - self.k))

        names = type(self.shares).model_fields
        # a share may fall from one to two replicas, and a line that falls ends below zero
        shares = {n: max(0, line(getattr(self.shares, n), getattr(other.shares, n))) for n in names}
        numbers = {n: line(getattr(self, n), getattr(other, n)) for n in ("flops", "forward_flops", "launches")}
        return Prediction(k, MemoryShares(**shares), **numbers)
