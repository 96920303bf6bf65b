"""What a task type must be: rows to tensors, logits to losses, a trained model to predictions."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from harness.core.cell import Protocol
from harness.core.method import Example, Task

Losses = Callable[[Tensor, Tensor, int], Tensor]
"""(logits of K replicas, their targets, K) -> mean loss per replica [K]."""


Shape = tuple[int, ...]
"""Lengths that the sequences of a batch are padded to."""


class Split(abc.ABC):
    """The tokenised rows of one split.

    `lengths` [n] are tokens per row, by which rows of like length share a batch; `cut` [n] says which rows were longer
    than allowed (one entry for each row of the data); `references` [n] is what predictions are scored against; `notes`
    tell of rows dropped or put together.
    """

    example_ids: Sequence[str]
    lengths: np.ndarray
    cut: np.ndarray
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    @abc.abstractmethod
    def device(self) -> Any: ...

    @property
    def positions(self) -> int:
        """Positions that a row may have at most, in any sequence of it."""
        return int(self.lengths.max())

    @property
    @abc.abstractmethod
    def references(self) -> np.ndarray: ...

    @abc.abstractmethod
    def shape(self, rows: np.ndarray) -> Shape:
        """The lengths that the given rows [m] are padded to."""

    @abc.abstractmethod
    def gather(self, rows: Tensor, shape: Shape) -> dict[str, Tensor]:
        """Model inputs of the given rows, [m] int64 on the device; the host decides nothing here."""

    @abc.abstractmethod
    def targets(self, rows: Tensor, shape: Shape) -> Tensor:
        """What the loss of these rows compares the logits with."""

    def batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Model inputs of the given rows [m], padded to the longest of them."""
        return self.gather(self.place(rows), self.shape(rows))

    def place(self, rows: np.ndarray) -> Tensor:
        """Row numbers on the device."""
        return torch.from_numpy(rows).to(self.device)

    @abc.abstractmethod
    def to(self, device: Any) -> Split: ...


@dataclasses.dataclass
class ReplicaPredictions:
    """Predictions of one replica on a split.

    `values` [n] go to the suite's `score`; `columns` go to the side file as they are, and hold no text of the data.
    `finite` is false where the model has diverged.
    """

    values: np.ndarray
    columns: dict[str, Any]
    finite: bool = True


class TaskType(abc.ABC):
    """One kind of task. Stateless; `version` is raised when the same rows give other tensors."""

    version: ClassVar[int] = 1

    @abc.abstractmethod
    def tokenise(
        self, tokenizer: Any, task: Task, examples: Sequence[Example], protocol: Protocol, *, train: bool
    ) -> Split:
        """Rows as tensors, those longer than the protocol allows cut and marked."""

    @abc.abstractmethod
    def losses(self, protocol: Protocol) -> Losses: ...

    @abc.abstractmethod
    def predict(
        self, model: nn.Module, split: Split, k: int, tokenizer: Any, protocol: Protocol, *, autocast: bool
    ) -> list[ReplicaPredictions]:
        """Predictions of each of K replicas, in the order of the split."""

    @abc.abstractmethod
    def build_synthetic(
        self, task: Task, protocol: Protocol, length: int, vocabulary: int, config: Any = None
    ) -> Split:
        """Rows of random tokens, all of the full length: the same work for each method. `config` is the model's."""
