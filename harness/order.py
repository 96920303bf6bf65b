"""Which rows each replica sees at each step, and how long they are padded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from harness.seeds import Streams

BUCKETS = 8
"""Groups of like length; a step pads to the longest row of its group, the same for all replicas of a pack."""


class Order:
    """An own permutation of the rows per replica and epoch, from its stream alone.

    With `by_length`, rows are cut into groups of like length. Which group a step reads is the same for every seed, so
    the replicas of a pack are padded alike; which of its rows, and in which order, is each replica's own.
    """

    def __init__(
        self, streams: Sequence[Streams], lengths: np.ndarray, batch_size: int, *, by_length: bool = False
    ) -> None:
        self.streams, self.rows, self.batch_size = list(streams), len(lengths), batch_size
        self.per_epoch = math.ceil(self.rows / batch_size)
        self.sorted = np.argsort(lengths, kind="stable") if by_length else None
        self.epoch, self._orders = -1, np.zeros((len(streams), 0), dtype=np.int64)
        self._schedule = np.zeros(0, dtype=np.int64)

    def at(self, step: int) -> np.ndarray:
        """Row numbers [K * B] of a step; the last batch of an epoch may be short."""
        start = self._place(step) * self.batch_size
        return self._orders[:, start : start + self.batch_size].reshape(-1)

    def alike(self, step: int) -> np.ndarray:
        """Rows whose longest a step is padded to: all of its group, or where rows are not grouped its own."""
        place = self._place(step)
        if self.sorted is None:
            return self.at(step)
        bounds = self._bounds()
        group = int(np.searchsorted(bounds, place * self.batch_size, side="right")) - 1
        return self.sorted[bounds[group] : bounds[group + 1]]

    def _place(self, step: int) -> int:
        """The step's batch in the epoch, whose orders are drawn where it is a new one."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            self.epoch = epoch
            # whole batches change places, the same for each seed; a short last one stays the last
            whole = self.rows // self.batch_size
            self._schedule = np.append(np.random.default_rng(epoch).permutation(whole), whole)
            self._orders = np.stack([self._drawn(s.numpy("order", f"epoch {epoch}")) for s in self.streams])
        return place if self.sorted is None else int(self._schedule[place])

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        if self.sorted is None:
            return rng.permutation(self.rows)
        groups = [rng.permutation(self.sorted[a:b]) for a, b in itertools.pairwise(self._bounds())]
        return np.concatenate(groups)

    def _bounds(self) -> np.ndarray:
        """Where the groups begin in the sorted rows: at whole batches, so that no batch lies in two."""
        batches = np.linspace(0, self.per_epoch, min(BUCKETS, self.per_epoch) + 1).round().astype(int)
        return np.asarray(np.minimum(batches * self.batch_size, self.rows))

    def keep(self, rows: Sequence[int]) -> None:
        self.streams = [self.streams[r] for r in rows]
        self._orders = self._orders[list(rows)]
