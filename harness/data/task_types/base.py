"""The contract of a task type: rows to tensors, logits to losses, a trained model to predictions.

rows --tokenise--> Split --gather(rows, shape)--> model inputs [K*B, n] --model--> logits --losses--> [K]
                   Split --targets(rows, shape)-> targets [K*B, ...] ---------------^
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from harness.core.method import Example, Task
from harness.core.protocol import Protocol

Losses = Callable[[Tensor, Tensor, int], Tensor]
"""(logits of K replicas, their targets, K) -> mean loss per replica [K]."""


Shape = tuple[int, ...]
"""Padded lengths of a batch's sequences, one per sequence of a row (encoder, decoder)."""


class Split(abc.ABC):
    """The tokenized rows of one split.

    `lengths` [n] are tokens per row, by which rows of similar length share a batch. `cut` has one entry per row of the
    data: whether it was truncated. `references` [n] are what predictions are scored against. `notes` describe rows that
    were dropped or packed.
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
        """Length of the longest sequence of any row."""
        return int(self.lengths.max())

    @property
    @abc.abstractmethod
    def references(self) -> np.ndarray: ...

    @abc.abstractmethod
    def shape(self, rows: np.ndarray) -> Shape:
        """The lengths that the given rows [m] are padded to."""

    @abc.abstractmethod
    def gather(self, rows: Tensor, shape: Shape) -> dict[str, Tensor]:
        """Model inputs of rows [m] int64 on the device. The host decides nothing, so a CUDA graph can hold it."""

    @abc.abstractmethod
    def targets(self, rows: Tensor, shape: Shape) -> Tensor:
        """The targets of these rows, which the loss compares with the logits."""

    @property
    def is_causal_padded(self) -> bool:
        """Whether rows are padded at their end and hold one example each, as a causal model reads them.

        A token then sees no padding before it, so a causal mask is all that training needs.
        """
        return False

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

    `values` [n] go to the suite's `score`. `columns` go to the side file unchanged, without text of the data. `finite`
    is False where the model has diverged.
    """

    values: np.ndarray
    columns: dict[str, Any]
    finite: bool = True


class TaskType(abc.ABC):
    """One kind of task, without state. `version` is raised when the same rows give other tensors."""

    version: ClassVar[int] = 1

    @abc.abstractmethod
    def tokenise(
        self, tokenizer: Any, task: Task, examples: Sequence[Example], protocol: Protocol, *, train: bool
    ) -> Split:
        """Rows as tensors; rows longer than the protocol allows are truncated and marked."""

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
        """Random tokens, all rows of full length, so every method computes as much. `config` is the model's."""
