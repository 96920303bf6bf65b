"""A matrix of K replicas in which some entries train and the others are frozen.

matrix [K, rows, columns] = frozen entries + leaf [K, M] at positions index [K, M]
position rows * columns (beyond the last entry) takes the padding of replicas with fewer trained entries
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from harness.replicas.dropout import load_fused_kernel
from harness.replicas.groups import Leaf
from methods.layers.frozen import Quantized

if TYPE_CHECKING:
    from methods.layers.matrices import MatrixBank


class PartialMatrix:
    """One factor (A or B) of a site for all replicas.

    leaf     [K, M]  trained entries; None where nothing trains; the whole matrix where everything trains
    index    [K, M]  positions of trained entries in a flattened matrix (from `first` on in `matrices`); else None
    matrices         holds frozen entries in floating point, this matrix from column `first` on
    frozen           holds frozen entries as codes instead
    columns  [K, c]  columns with a trained entry, where these are not all
    narrow   [K, M]  index into the matrix of these columns only, where the gradient comes in that form
    """

    def __init__(self, values: Sequence[Tensor], masks: Sequence[np.ndarray], level: str, moves: bool) -> None:
        self.shape = (len(values), values[0].shape[0], values[0].shape[1])
        self.leaf: Leaf | None = None
        self.matrices: MatrixBank | None = None
        self.frozen: Quantized | None = None
        self.rest: Tensor | None = None
        """Frozen entries [K, size], zero where entries train; only until `matrices` takes them."""
        self.first = 0
        self.index: Tensor | None = None
        self.columns: Tensor | None = None
        self.narrow: Tensor | None = None
        self.even = True
        """Whether all replicas train equally many entries, so that `index` has no padding."""
        self.start = self._split_entries(torch.stack([m.flatten() for m in values]), masks, level, moves)

    def _split_entries(self, dense: Tensor, masks: Sequence[np.ndarray], level: str, moves: bool) -> Tensor | None:
        """Split the matrices [K, size] into frozen and trained entries; returns the trained ones, [K, M]."""
        k, size = dense.shape
        flat_masks = np.stack([mask.ravel() for mask in masks])
        counts = flat_masks.sum(1)
        most = int(counts.max())
        if counts.min() == size:
            return dense.view(self.shape)
        trains = torch.from_numpy(flat_masks).to(dense.device)
        frozen_values = dense.masked_fill(trains, 0)
        # both sides of an assignment by masks go row by row, and from the first column on
        filled = np.arange(most) < counts[:, None]
        index = np.full((k, most), size, dtype=np.int32)
        index[filled] = np.nonzero(flat_masks)[1]
        values = dense.new_zeros(k, most)
        values[torch.from_numpy(filled).to(dense.device)] = dense[trains]
        if level == "none":
            self.rest = frozen_values
        # All zero, as for B of plain LoRA-SP, needs no codes; with resampling the entries will not stay zero.
        elif most == 0 or moves or bool(frozen_values.any()):
            self.frozen = Quantized(frozen_values, level)
        if most == 0:
            return None
        self.index = torch.from_numpy(index).to(dense.device)
        self.even = bool(counts.min() == most)
        self.columns = None if moves else self._columns(masks)
        return values

    def _columns(self, masks: Sequence[np.ndarray]) -> Tensor | None:
        columns = [np.flatnonzero(m.any(0)) for m in masks]
        most = max(len(c) for c in columns)
        if most == self.shape[2]:
            return None
        # A replica with fewer columns repeats one of its own; the gradient is equal in both.
        padded = [np.concatenate([c, np.full(most - len(c), c[0] if len(c) else 0)]) for c in columns]
        device = None if self.index is None else self.index.device
        return torch.from_numpy(np.stack(padded).astype(np.int64)).to(device)

    @property
    def size(self) -> int:
        return self.shape[1] * self.shape[2]

    @property
    def whole(self) -> bool:
        """Whether every entry trains, so that the leaf is the matrix."""
        return self.leaf is not None and self.index is None

    @property
    def places(self) -> Tensor | None:
        """`index` relative to this matrix's first entry; positions of padding lie beyond its last."""
        return None if self.index is None else self.index - self.first

    @torch.no_grad()
    def dense(self, dtype: torch.dtype | None = None) -> Tensor:
        """The matrices [K, rows, columns], cast to `dtype` if given; without gradient."""
        if self.matrices is not None:
            return self.matrices.dense(self, dtype)
        filled = self._decode()
        return filled if dtype is None else filled.to(dtype)

    def _decode(self) -> Tensor:
        """The matrices from codes, with trained entries scattered in; one extra column takes the padding."""
        values = None if self.leaf is None else self.leaf.tensor.detach()
        if self.frozen is not None:
            flat = self.frozen.dequantize_rows()
        else:
            assert values is not None
            flat = values.new_zeros(self.shape[0], self.size + 1)
        if self.index is not None and values is not None:
            flat.scatter_(1, self.index.long(), values)
        return flat[:, : self.size].view(self.shape)

    def gather_gradient(self, full: Tensor) -> Tensor:
        """The gradient of the trained entries, in the leaf's shape and dtype.

        `full` is the gradient of the matrices [K, rows, columns], or of the columns given to `narrow_to`, [K, rows, c].
        """
        assert self.leaf is not None
        dtype = self.leaf.tensor.dtype
        if self.index is None:
            return full.to(dtype)
        index, first = (self.index, self.first) if self.narrow is None else (self.narrow, 0)
        return gather_entries(full, index, first, self.even, dtype)

    def narrow_to(self, columns: Tensor | None) -> None:
        """Expect gradients of these columns [K, c] only; None for all columns."""
        self.narrow = None if columns is None else self._compute_narrow_index(columns)

    def _compute_narrow_index(self, columns: Tensor) -> Tensor:
        """`index` [K, M] for the matrix that has only these columns."""
        places = self.places
        assert places is not None
        k, rows, width = self.shape
        column_count = columns.shape[1]
        number = torch.arange(column_count, device=columns.device).expand(k, column_count)
        place = torch.zeros(k, width, dtype=torch.int64, device=columns.device).scatter_(1, columns, number)
        flat_index = places.long()
        inside = flat_index.clamp(max=self.size - 1)
        narrow_index = inside // width * column_count + place.gather(1, inside % width)
        return torch.where(flat_index < self.size, narrow_index, rows * column_count).int()

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all replicas except `rows`."""
        chosen = list(rows)
        self.shape = (len(rows), self.shape[1], self.shape[2])
        if self.frozen is not None:
            self.frozen.keep(rows)
        if self.columns is not None:
            self.columns = self.columns[chosen]
        if self.narrow is not None:
            self.narrow = self.narrow[chosen]
        if self.index is not None and self.matrices is None:
            self.index = self.index[chosen]

    @torch.no_grad()
    def move(self, row: int, mask: np.ndarray) -> float:
        """Train other entries of one replica, as many as before; every entry keeps its value.

        Returns the sum of absolute errors from storing the entries that are frozen now (0 in floating point).
        """
        if self.leaf is None or self.index is None:
            return 0.0
        now = self.dense()[row].flatten().clone()
        more = [(0, have - size) for have, size in zip(self.shape[1:], mask.shape, strict=True)]
        where = torch.from_numpy(np.flatnonzero(np.pad(mask, more))).to(now.device)
        self.leaf.tensor[row, : len(where)] = now[where]
        self.index[row, : len(where)] = (where + self.first).int()
        if self.matrices is not None:
            self.matrices.mark_current()
        # `matrices` already has all values, also of entries that trained until now.
        if self.frozen is None:
            return 0.0
        now[where] = 0
        return self.frozen.set_row(row, now)

    def state(self) -> list[Tensor]:
        """A copy on the host of everything except trained entries."""
        return [tensor.to("cpu", copy=True) for tensor in self._collect_state()]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Resume from a result of `state`."""
        for tensor, saved in zip(self._collect_state(), state, strict=True):
            tensor.copy_(saved)

    def _collect_state(self) -> list[Tensor]:
        index = [] if self.index is None else [self.index]
        if self.frozen is not None:
            return index + list(self.frozen.tensors())
        return index + ([] if self.matrices is None else self.matrices.stored(self))


def gather_entries(full: Tensor, index: Tensor, first: int, even: bool, dtype: torch.dtype) -> Tensor:
    """Entries [K, M] of `full` [K, ...] at positions `index - first`; zero beyond it (which `even` rules out)."""
    if full.is_cuda and (fused := load_fused_kernel("methods.layers.gather_kernel")) is not None:
        gradients: Tensor = fused.gathered(full, index, first, dtype)
        return gradients
    flat, places = full.reshape(len(index), -1), index.long()
    # `long` has copied the int32 index, so this changes nothing outside.
    if first:
        places -= first
    if not even:
        places = places.clamp(max=flat.shape[1])
        flat = nn.functional.pad(flat, (0, 1))
    return flat.gather(1, places).to(dtype)
