"""The low-rank pair of one replica at one site, before it is attached."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn


@dataclasses.dataclass
class Pair:
    """One replica's low-rank pair at one site: A [rank, d_in], B [d_out, rank]; masks are True for trained entries.

    `frozen` is the quantization type of entries that do not train. With `moves`, the mask is resampled during training.
    """

    a: Tensor
    b: Tensor
    train_a: np.ndarray
    train_b: np.ndarray
    scale: float
    dropout: float
    lr_ratio: float = 1.0
    frozen: str = "none"
    moves: bool = False

    def clear_frozen(self) -> Pair:
        """The pair with its frozen entries at zero."""
        frozen_a, frozen_b = (torch.from_numpy(~mask) for mask in (self.train_a, self.train_b))
        return dataclasses.replace(self, a=self.a.masked_fill(frozen_a, 0), b=self.b.masked_fill(frozen_b, 0))

    def drop_dead_ranks(self) -> Pair:
        """The pair without ranks that have no effect: they do not train, and one of their factors is zero."""
        trains = self.train_a.any(1) | self.train_b.any(0)
        adds = (self.a.numpy().any(1)) & (self.b.numpy().any(0))
        alive = np.flatnonzero(trains | adds)
        if self.moves or len(alive) == len(self.a):
            return self
        a, b = self.a[alive], self.b[:, alive]
        return dataclasses.replace(self, a=a, b=b, train_a=self.train_a[alive], train_b=self.train_b[:, alive])


def pad_pair(pair: Pair | None, rank: int, like: Pair) -> Pair:
    """The pair padded with zeros to `rank`; for a replica without a pair at this site all zero and frozen."""
    if pair is None:
        zero_a, zero_b = torch.zeros_like(like.a), torch.zeros_like(like.b)
        pair = Pair(zero_a, zero_b, np.zeros(zero_a.shape, bool), np.zeros(zero_b.shape, bool), 1.0, 0.0)
    more = rank - pair.a.shape[0]
    if more == 0:
        return pair
    return dataclasses.replace(
        pair,
        a=nn.functional.pad(pair.a, (0, 0, 0, more)),
        b=nn.functional.pad(pair.b, (0, more)),
        train_a=np.pad(pair.train_a, ((0, more), (0, 0))),
        train_b=np.pad(pair.train_b, ((0, 0), (0, more))),
    )
