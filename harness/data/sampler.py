"""Which rows each replica sees at each step, and how long they are padded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from harness.core.seeds import Streams

BUCKETS = 8
"""Groups of like length; a step pads to the longest row of the groups that its replicas read."""


class ReplicaSampler:
    """A permutation of the rows per replica and epoch, from the replica's own streams alone.

    With `by_length`, rows are cut into groups of like length, at whole batches. Which group a step reads follows the
    length seed, which of its rows the order seed. So replicas with the same length seed read rows of like length at the
    same step; others are padded to the longest among them.
    """

    def __init__(
        self, streams: Sequence[Streams], lengths: np.ndarray, batch_size: int, *, by_length: bool = False
    ) -> None:
        self.streams, self.rows, self.batch_size = list(streams), len(lengths), batch_size
        self.per_epoch = math.ceil(self.rows / batch_size)
        self.sorted = np.argsort(lengths, kind="stable") if by_length else None
        self.epoch, self._orders = -1, np.zeros((len(streams), 0), dtype=np.int64)
        self._schedules = np.zeros((len(streams), 0), dtype=np.int64)

    def at(self, step: int) -> np.ndarray:
        """Row numbers [K * B] of a step; the last batch of an epoch may be short."""
        batches = [order[start : start + self.batch_size] for order, start in self._find_batch_starts(step)]
        return np.concatenate(batches)

    def select_padding_rows(self, step: int) -> np.ndarray:
        """Rows whose longest a step is padded to: its own, or where rows are grouped by length all of the groups.

        Of several groups all up to the longest, so that few shapes occur.
        """
        if self.sorted is None:
            return self.at(step)
        bounds = self._find_group_bounds()
        starts = [start for _, start in self._find_batch_starts(step)]
        groups = {int(np.searchsorted(bounds, start, side="right")) - 1 for start in starts}
        first = bounds[min(groups)] if len(groups) == 1 else 0
        return self.sorted[first : bounds[max(groups) + 1]]

    def _find_batch_starts(self, step: int) -> list[tuple[np.ndarray, int]]:
        """For each replica its order of the epoch, drawn where that is a new one, and where its batch starts there."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            self.epoch = epoch
            self._orders = np.stack([self._draw_rows(s.numpy("order", f"epoch {epoch}")) for s in self.streams])
            if self.sorted is not None:
                self._schedules = np.stack(
                    [self._draw_groups(s.numpy("length", f"groups {epoch}")) for s in self.streams]
                )
        if self.sorted is None:
            return [(order, place * self.batch_size) for order in self._orders]
        return [
            (order, int(schedule[place]) * self.batch_size)
            for order, schedule in zip(self._orders, self._schedules, strict=True)
        ]

    def _draw_rows(self, rng: np.random.Generator) -> np.ndarray:
        if self.sorted is None:
            return rng.permutation(self.rows)
        groups = [rng.permutation(self.sorted[a:b]) for a, b in itertools.pairwise(self._find_group_bounds())]
        return np.concatenate(groups)

    def _draw_groups(self, rng: np.random.Generator) -> np.ndarray:
        """An order of the whole batches; a short one stays the last, so that all replicas have it at the same step."""
        whole = self.rows // self.batch_size
        return np.append(rng.permutation(whole), whole)

    def _find_group_bounds(self) -> np.ndarray:
        """Where the groups begin in the sorted rows: at whole batches, so that no batch lies in two."""
        batches = np.linspace(0, self.per_epoch, min(BUCKETS, self.per_epoch) + 1).round().astype(int)
        return np.asarray(np.minimum(batches * self.batch_size, self.rows))

    def keep(self, rows: Sequence[int]) -> None:
        self.streams = [self.streams[r] for r in rows]
        self._orders = self._orders[list(rows)]
        self._schedules = self._schedules[list(rows)]
