"""A matrix of K replicas, of which some entries train and the rest is frozen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from harness.groups import Leaf
from methods.layers.frozen import FrozenLevel, Store, store


class Packed:
    """`leaf` [K, M] holds the trained entries, `index` says where they go, `frozen` has the rest.

    `leaf` is None where nothing trains. With every entry trained, the leaf is the matrix and there is no index.
    `columns` [K, c] are those with a trained entry, where that is fewer than all. In `index`, the place K * size
    takes the padding of replicas that train fewer entries than their neighbours.
    """

    def __init__(
        self, matrices: Sequence[Tensor], masks: Sequence[np.ndarray], level: FrozenLevel, moves: bool
    ) -> None:
        self.shape = (len(matrices), matrices[0].shape[0], matrices[0].shape[1])
        self.leaf: Leaf | None = None
        self.frozen: Store | None = None
        self.index: Tensor | None = None
        self.columns: Tensor | None = None
        self.even = True
        """Whether all replicas train as many entries, so that no place of `index` is the padding's."""
        self.start = self._place(torch.stack([m.flatten() for m in matrices]), masks, level, moves)

    def _place(self, dense: Tensor, masks: Sequence[np.ndarray], level: FrozenLevel, moves: bool) -> Tensor | None:
        """Take the matrices [K, size] apart; returns what the trained entries start from."""
        k, size = dense.shape
        positions = [np.flatnonzero(m) for m in masks]
        most = max(len(p) for p in positions)
        if all(len(p) == size for p in positions):
            return dense.view(self.shape)
        rest = dense.clone()
        values = dense.new_zeros(k, most)
        index = np.full((k, most), k * size, dtype=np.int32)
        for row, where in enumerate(positions):
            places = torch.from_numpy(where).to(dense.device)
            values[row, : len(where)] = dense[row, places]
            rest[row, places] = 0
            index[row, : len(where)] = where + row * size
        if level == "none" or most == 0 or moves or bool(rest.any()):
            self.frozen = store(rest, level)
        if most == 0:
            return None
        self.index = torch.from_numpy(index).flatten().to(dense.device)
        self.even = all(len(p) == most for p in positions)
        self.columns = None if moves else self._columns(masks)
        return values

    def _columns(self, masks: Sequence[np.ndarray]) -> Tensor | None:
        found = [np.flatnonzero(m.any(0)) for m in masks]
        most = max(len(c) for c in found)
        if most == self.shape[2]:
            return None
        # a replica with fewer repeats one of its own: the gradient is written there twice, the same
        padded = [np.concatenate([c, np.full(most - len(c), c[0] if len(c) else 0)]) for c in found]
        device = None if self.index is None else self.index.device
        return torch.from_numpy(np.stack(padded).astype(np.int64)).to(device)

    @property
    def trains(self) -> bool:
        """Whether any entry trains."""
        return self.index is not None or self.frozen is None

    @property
    def size(self) -> int:
        return self.shape[1] * self.shape[2]

    @torch.no_grad()
    def dense(self, *, again: bool = False) -> Tensor:
        """The matrices [K, rows, columns]; no gradient flows through this. `again`: nothing was trained since."""
        values = None if self.leaf is None else self.leaf.tensor.detach()
        if values is not None and self.index is None:
            return values
        count = self.shape[0] * self.size
        flat = None if values is None else values.flatten()
        if self.frozen is not None:
            filled = (self.frozen.again if again else self.frozen.filled)(self.index, flat)
        else:
            assert flat is not None and self.index is not None
            filled = flat.new_zeros(count + 1).index_copy_(0, self.index.long(), flat)
        return filled[:count].view(self.shape)

    def gradient(self, full: Tensor) -> Tensor:
        """Of the trained entries, in the leaf's shape, from that of the matrices [K, rows, columns]."""
        assert self.leaf is not None
        values = self.leaf.tensor
        if self.index is None:
            return full.to(values.dtype)
        flat = full.flatten() if self.even else torch.cat([full.flatten(), full.new_zeros(1)])
        return flat.index_select(0, self.index).view(values.shape).to(values.dtype)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all replicas but `rows`."""
        k, size, chosen = self.shape[0], self.size, list(rows)
        self.shape = (len(rows), self.shape[1], self.shape[2])
        if self.frozen is not None:
            self.frozen.keep(rows)
        if self.columns is not None:
            self.columns = self.columns[chosen]
        if self.index is not None:
            old = self.index.view(k, -1)[chosen].long()
            moved = torch.tensor([(new - row) * size for new, row in enumerate(rows)], device=old.device)[:, None]
            self.index = torch.where(old == k * size, len(rows) * size, old + moved).flatten().int()

    @torch.no_grad()
    def move(self, row: int, mask: np.ndarray) -> float:
        """Let other entries of one replica train, as many as before; each keeps its value.

        Returns the sum of absolute errors made by storing those that are frozen now.
        """
        if self.leaf is None or self.index is None or self.frozen is None:
            return 0.0
        now = self.dense()[row].flatten().clone()
        more = [(0, have - own) for have, own in zip(self.shape[1:], mask.shape, strict=True)]
        where = torch.from_numpy(np.flatnonzero(np.pad(mask, more))).to(now.device)
        self.leaf.tensor[row, : len(where)] = now[where]
        self.index.view(self.shape[0], -1)[row, : len(where)] = (where + row * self.size).int()
        now[where] = 0
        return self.frozen.set_row(row, now)

    def state(self) -> list[Tensor]:
        """A copy of all but the trained values."""
        index = [] if self.index is None else [self.index.clone()]
        return index + ([] if self.frozen is None else self.frozen.state())

    def restore(self, state: Sequence[Tensor]) -> None:
        """Go on from what `state` gave."""
        own = list(state)
        if self.index is not None:
            self.index.copy_(own.pop(0))
        if self.frozen is not None:
            self.frozen.restore(own)

    def bytes_beside(self, size: int, trained: int) -> int:
        """Bytes kept for a replica of so many entries beside the trained ones: frozen entries, map of the trained."""
        frozen = 0 if self.frozen is None else self.frozen.bytes_for(size)
        return frozen + (0 if self.index is None else trained * self.index.element_size())
