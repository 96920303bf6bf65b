"""Compute all dense matrices of an adapter once per pass: scatter trained entries among frozen ones, then cast.

group.theta [K, N]   | entries of matrix 0 | entries of matrix 1 | whole matrices |
                           | scatter by index     | scatter            | used as they are
flat [K, width]      | matrix 0: frozen and trained | matrix 1 | ... | padding |
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.replicas.groups import ParameterGroup
from methods.layers.packed import PartialMatrix

ALIGNED = 64
"""The width is a multiple of this number of columns, so that matrices of all replicas are aligned equally."""


class MatrixBank:
    """All matrices with frozen entries in floating point, side by side in `flat` [K, width].

    A step launches one or two kernels for all matrices instead of several for each; launches bound a small model. The
    matrices stay valid until a group changes: in place, which torch's version counter shows, or by a replayed CUDA
    graph, after which the trainer calls `invalidate`.
    """

    def __init__(self, groups: Sequence[ParameterGroup], packed: Sequence[PartialMatrix]) -> None:
        self.groups = list(groups)
        self.places = {
            # The storage offset of a view of theta is its first column.
            id(leaf): (number, int(leaf.tensor.storage_offset()))
            for number, group in enumerate(groups)
            for leaf in group.leaves.values()
        }
        # weak: each matrix refers to its bank, and the cycle would hold a pack's tensors until garbage is collected
        self._parts = [weakref.ref(p) for p in packed if p.rest is not None]
        last = 0
        for part in self.parts:
            part.first, last = last, last + part.size
        self.flat: Tensor | None = self._build_flat(last) if self.parts else None
        self.indices = [self._build_index(number, last) for number in range(len(groups))]
        self._bind()
        for part in packed:
            # From here on `flat` owns the frozen entries; dropping `rest` frees the second copy.
            part.matrices = self if part.whole or part.rest is not None else None
            part.rest = None
        self._seen: list[int] | None = None
        self._cast: dict[tuple[int, torch.dtype], Tensor] = {}

    @property
    def parts(self) -> list[PartialMatrix]:
        """The matrices in `flat`, in the order of its columns."""
        return [part for ref in self._parts if (part := ref()) is not None]

    def _build_flat(self, last: int) -> Tensor:
        like = self.parts[0].rest
        assert like is not None
        # At least one more column than `last`: it takes the padding of replicas with fewer trained entries.
        flat = like.new_zeros(len(like), last + ALIGNED - last % ALIGNED)
        for part in self.parts:
            assert part.rest is not None
            flat[:, part.first : part.first + part.size] = part.rest
        return flat

    def _list_parts(self, number: int) -> list[PartialMatrix]:
        """Matrices whose trained entries are the first columns of a group, in the order of the columns."""
        parts = [p for p in self.parts if p.leaf is not None and self.places[id(p.leaf)][0] == number]
        return sorted(parts, key=lambda p: self.places[id(p.leaf)][1])

    def _build_index(self, number: int, last: int) -> Tensor | None:
        """Positions [K, n] int32 in a row of `flat` of a group's first n columns; None where there are none."""
        parts = [(p, p.index) for p in self._list_parts(number) if p.index is not None]
        if not parts:
            return None
        return torch.cat([torch.where(i == p.size, last, i + p.first) for p, i in parts], dim=1).int()

    def _bind(self) -> None:
        """Make each matrix's index a view of its columns of the group's index."""
        for number, index in enumerate(self.indices):
            start = 0
            for part in self._list_parts(number):
                assert index is not None and part.leaf is not None and self.places[id(part.leaf)][1] == start
                part.index = index[:, start : start + part.leaf.shape[0]]
                start += part.leaf.shape[0]

    def dense(self, packed: PartialMatrix, dtype: torch.dtype | None) -> Tensor:
        """One matrix of all replicas, [K, rows, columns]; a view where possible."""
        if packed.leaf is None or not packed.whole:
            assert self.flat is not None
            self._refresh()
            return self._cut(packed, self.flat, -1, packed.first, dtype)
        if dtype in (None, packed.leaf.tensor.dtype):
            return packed.leaf.tensor.detach()
        self._refresh()
        group, start = self.places[id(packed.leaf)]
        return self._cut(packed, self.groups[group].theta.detach(), group, start, dtype)

    def _cut(self, packed: PartialMatrix, source: Tensor, number: int, start: int, dtype: torch.dtype | None) -> Tensor:
        """The matrix's columns of a source: group `number`, or `flat` for -1; cast once per dtype."""
        if dtype is not None and dtype != source.dtype:
            if (number, dtype) not in self._cast:
                self._cast[number, dtype] = source.to(dtype)
            source = self._cast[number, dtype]
        return source[:, start : start + packed.size].view(packed.shape)

    def _refresh(self) -> None:
        if self._read_versions() == self._seen:
            return
        self.invalidate()
        for group, index in zip(self.groups, self.indices, strict=True):
            if index is not None:
                assert self.flat is not None
                self.flat.scatter_(1, index.long(), group.theta.detach()[:, : index.shape[1]])
        self._seen = self._read_versions()

    def _read_versions(self) -> list[int]:
        return [group.theta._version for group in self.groups]

    def mark_current(self) -> None:
        """Keep the matrices after a mask was resampled, because that changes no value."""
        self._seen = self._read_versions()

    def invalidate(self) -> None:
        """Mark all matrices as outdated, because trainable parameters may have changed unseen."""
        self._seen = None
        self._cast.clear()

    def stored(self, packed: PartialMatrix) -> list[Tensor]:
        """The columns of `flat` of a matrix; empty where all of its entries train."""
        if packed.whole:
            return []
        assert self.flat is not None
        return [self.flat[:, packed.first : packed.first + packed.size]]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all replicas except `rows`; the groups must have dropped them before."""
        chosen = list(rows)
        self.flat = None if self.flat is None else self.flat[chosen]
        self.indices = [None if index is None else index[chosen] for index in self.indices]
        self._bind()
        self.invalidate()
