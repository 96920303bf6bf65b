"""Choose the rows of each replica at each step, and the length to which they are padded.

rows sorted by length | group 0 | group 1 | ... | group 7 |      (length-bucketed batches only)
length seed: the order of groups' batches          order seed: the order of rows within a group
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from harness.core.seeds import Streams

BUCKETS = 8
"""Number of length groups; a step pads to the longest row of the groups that its replicas read."""


class ReplicaSampler:
    """Draws a permutation of the rows per replica and epoch, from the replica's own streams.

    With `by_length`, batches are length-bucketed: rows are divided into groups of similar length, at whole batches. The
    length seed decides which group a step reads, the order seed which rows of it. Replicas with the same length seed
    read rows of similar length at the same step; otherwise all are padded to the longest.
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
        """Row numbers [K * B] of a step, replica by replica; the last batch of an epoch may be shorter."""
        batches = [order[start : start + self.batch_size] for order, start in self._find_batch_starts(step)]
        return np.concatenate(batches)

    def select_padding_rows(self, step: int) -> np.ndarray:
        """Rows whose longest gives the padded length of a step: the step's own rows, or whole groups.

        Where replicas read several groups, these are all rows up to the longest group, so that few shapes occur.
        """
        if self.sorted is None:
            return self.at(step)
        bounds = self._find_group_bounds()
        starts = [start for _, start in self._find_batch_starts(step)]
        groups = {int(np.searchsorted(bounds, start, side="right")) - 1 for start in starts}
        # Several groups: from the first group on, so that the shape depends only on the longest group.
        first = bounds[min(groups)] if len(groups) == 1 else 0
        return self.sorted[first : bounds[max(groups) + 1]]

    def _find_batch_starts(self, step: int) -> list[tuple[np.ndarray, int]]:
        """(order of the epoch, start of the batch in it) per replica; draws the orders at the start of an epoch."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            self.epoch = epoch
            # Each epoch has its own stream, so a resumed run does not repeat the draws of earlier epochs.
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
            # Without buckets the order must not depend on the lengths, which differ between tokenizers.
            return rng.permutation(self.rows)
        groups = [rng.permutation(self.sorted[a:b]) for a, b in itertools.pairwise(self._find_group_bounds())]
        return np.concatenate(groups)

    def _draw_groups(self, rng: np.random.Generator) -> np.ndarray:
        """A random order of the whole batches; a short batch stays last, so all replicas have it at the same step."""
        whole = self.rows // self.batch_size
        return np.append(rng.permutation(whole), whole)

    def _find_group_bounds(self) -> np.ndarray:
        """Bounds of the groups in the sorted rows, at whole batches, so that no batch lies in two groups."""
        batches = np.linspace(0, self.per_epoch, min(BUCKETS, self.per_epoch) + 1).round().astype(int)
        return np.asarray(np.minimum(batches * self.batch_size, self.rows))

    def keep(self, rows: Sequence[int]) -> None:
        self.streams = [self.streams[r] for r in rows]
        self._orders = self._orders[list(rows)]
        self._schedules = self._schedules[list(rows)]
