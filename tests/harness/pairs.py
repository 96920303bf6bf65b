"""A task type for tests: random sources and targets for an encoder-decoder."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.cell import Protocol
from harness.contracts import Task
from harness.task_types.base import Losses, Shape, Split, TaskType


@dataclasses.dataclass
class Pairs(Split):
    """ids and told [n, length]."""

    ids: Tensor
    told: Tensor

    def __post_init__(self) -> None:
        self.example_ids = [str(i) for i in range(len(self.ids))]
        self.lengths = np.full(len(self.ids), self.ids.shape[1])
        self.cut = np.zeros(len(self.ids), bool)

    @property
    def device(self) -> torch.device:
        return self.ids.device

    @property
    def references(self) -> np.ndarray:
        return np.zeros(len(self.ids))

    def shape(self, rows: np.ndarray) -> Shape:
        return tuple(self.ids.shape[1:])

    def gather(self, rows: Tensor, shape: Shape) -> dict[str, Tensor]:
        read, told = self.ids.index_select(0, rows), self.told.index_select(0, rows)
        return {"input_ids": read, "attention_mask": torch.ones_like(read), "decoder_input_ids": told}

    def targets(self, rows: Tensor, shape: Shape) -> Tensor:
        return self.told.index_select(0, rows)

    def to(self, device: Any) -> Pairs:
        return Pairs(self.ids.to(device), self.told.to(device))


class PairType(TaskType):
    """Cross-entropy of the target's tokens."""

    def tokenise(self, *_: Any, **__: Any) -> Split:
        raise NotImplementedError

    def losses(self, protocol: Protocol) -> Losses:
        def of(logits: Tensor, labels: Tensor, k: int) -> Tensor:
            each = nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="none")
            return each.view(k, -1).mean(1)

        return of

    def predict(self, *_: Any, **__: Any) -> list[Any]:
        raise NotImplementedError

    def synthetic(self, task: Task, protocol: Protocol, length: int, vocabulary: int, *_: Any) -> Pairs:
        made = torch.randint(0, vocabulary, (2, 16, length), generator=torch.Generator().manual_seed(0))
        return Pairs(*made)


TASK_TYPE = PairType()
