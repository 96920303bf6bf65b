"""The one module of the LoRA family (arXiv 2106.09685): y = W x + scale * B A drop(x), K replicas at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from harness.dropout import CounterDropout
from harness.groups import Attached, Leaf, ParameterGroup
from methods.layers.replica_linear import put, trained_dtype


@dataclasses.dataclass
class Pair:
    """One replica's low-rank pair at one site: A [rank, d_in], B [d_out, rank]; masks are True where trained."""

    a: Tensor
    b: Tensor
    train_a: np.ndarray
    train_b: np.ndarray
    scale: float
    dropout: float
    lr_ratio: float = 1.0

    def without_dead_ranks(self) -> Pair:
        """The same pair less the ranks that neither train nor, one factor being zero, add anything."""
        trains = self.train_a.any(1) | self.train_b.any(0)
        adds = (self.a.numpy().any(1)) & (self.b.numpy().any(0))
        alive = np.flatnonzero(trains | adds)
        if len(alive) == len(self.a):
            return self
        a, b = self.a[alive], self.b[:, alive]
        return dataclasses.replace(self, a=a, b=b, train_a=self.train_a[alive], train_b=self.train_b[:, alive])


@dataclasses.dataclass
class Packed:
    """A matrix of K replicas, some of whose entries train: `leaf` [K, M] holds those, `index` says where they go.

    `leaf` is None where nothing trains. With every entry trained, the leaf is the matrix and there is no index.
    """

    shape: tuple[int, int, int]
    frozen: Tensor | None
    index: Tensor | None
    leaf: Leaf | None = None

    def dense(self) -> Tensor:
        """The matrices [K, rows, columns]; the gradient that comes back is packed again."""
        if self.index is None and self.leaf is not None:
            return self.leaf.tensor
        size = torch.Size(self.shape).numel()
        if self.leaf is None or self.index is None:
            assert self.frozen is not None
            return self.frozen[:size].view(self.shape)
        values = self.leaf.tensor
        # one slot beyond the end takes the padding of replicas that train fewer entries than their neighbours
        start = values.new_zeros(size + 1) if self.frozen is None else self.frozen
        return start.index_copy(0, self.index, values.flatten())[:size].view(self.shape)

    def keep(self, rows: Sequence[int]) -> None:
        k, *rest = self.shape
        size = torch.Size(rest).numel()
        self.shape = (len(rows), self.shape[1], self.shape[2])
        chosen = list(rows)
        if self.frozen is not None:
            self.frozen = torch.cat([self.frozen[:-1].view(k, size)[chosen].flatten(), self.frozen[-1:]])
        if self.index is not None:
            old = torch.arange(k, device=self.index.device)[:, None] * size
            own = self.index.view(k, -1) - old
            own = torch.where(self.index.view(k, -1) == k * size, len(rows) * size, own)[chosen]
            new = torch.arange(len(rows), device=own.device)[:, None] * size
            self.index = torch.where(own == len(rows) * size, own, own + new).flatten()


def pack(matrices: Sequence[Tensor], masks: Sequence[np.ndarray]) -> tuple[Packed, Tensor | None]:
    """K matrices of one shape and their masks -> (where the trained entries go, their start values [K, M])."""
    k, size = len(matrices), matrices[0].numel()
    shape = (k, matrices[0].shape[0], matrices[0].shape[1])
    dense = torch.stack([m.flatten() for m in matrices])
    positions = [np.flatnonzero(m) for m in masks]
    most = max(len(p) for p in positions)
    if most == 0:
        return Packed(shape, torch.cat([dense.flatten(), dense.new_zeros(1)]), None), None
    if all(len(p) == size for p in positions):
        return Packed(shape, None, None), dense.view(shape)
    index = np.full((k, most), k * size, dtype=np.int64)
    values = dense.new_zeros(k, most)
    for row, where in enumerate(positions):
        index[row, : len(where)] = where + row * size
        values[row, : len(where)] = dense[row, torch.from_numpy(where).to(dense.device)]
    frozen = torch.cat([dense.flatten(), dense.new_zeros(1)])
    flat = torch.from_numpy(index).flatten().to(dense.device)
    frozen[flat] = 0
    return Packed(shape, frozen if bool(frozen.any()) else None, flat), values


class LowRankLinear(nn.Module):
    """A frozen linear layer with K low-rank pairs beside it, for x [K*B, ..., d_in]."""

    def __init__(self, base: nn.Module, a: Packed, b: Packed, scales: Sequence[float], drop: CounterDropout) -> None:
        super().__init__()
        self.base, self.a, self.b, self.drop = base, a, b, drop
        self.scales = torch.tensor(list(scales), dtype=torch.float64)
        self._cast: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        k = len(self.scales)
        rows = self.drop(x).reshape(k, -1, x.shape[-1])
        h = torch.bmm(rows, self.a.dense().to(x.dtype).transpose(1, 2))
        if self._cast is None:
            self._cast = self.scales[:, None, None].to(h)
        h = h * self._cast
        return y + torch.bmm(h, self.b.dense().to(x.dtype).transpose(1, 2)).view(y.shape)

    def keep_rows(self, rows: Sequence[int]) -> None:
        self.a.keep(rows)
        self.b.keep(rows)
        self.scales, self._cast = self.scales[list(rows)], None


def _padded(pair: Pair | None, rank: int, like: Pair) -> Pair:
    """A pair with zero rows up to `rank`; for a replica that has no pair at this site, all zero and frozen."""
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


def attach_pairs(model: nn.Module, members: Sequence[Mapping[str, Pair]]) -> Attached:
    """Wrap each linear layer named by any member; returns the group "adapter" (none if nothing trains)."""
    device, dtype = next(model.parameters()).device, trained_dtype(model)
    names = [name for name, _ in model.named_modules() if any(name in m for m in members)]
    made: list[Packed] = []
    values: list[tuple[str, Tensor]] = []
    layers: list[LowRankLinear] = []
    for name in names:
        present = [m[name] for m in members if name in m]
        rank = max(pair.a.shape[0] for pair in present)
        pairs = [_padded(m.get(name), rank, present[0]) for m in members]
        a, start_a = pack([p.a.to(device, dtype) for p in pairs], [p.train_a for p in pairs])
        b, start_b = pack([p.b.to(device, dtype) for p in pairs], [p.train_b for p in pairs])
        values += [(f"{name}.{part}", v) for part, v in (("a", start_a), ("b", start_b)) if v is not None]
        made += [a, b]
        drop = CounterDropout([p.dropout for p in pairs], f"{name}.lora_dropout")
        layers.append(LowRankLinear(model.get_submodule(name), a, b, [p.scale for p in pairs], drop))
    groups = _groups(values, members)
    leaves = {leaf.name: leaf for group in groups for leaf in group.leaves.values()}
    total = [sum(p.a.numel() + p.b.numel() for p in m.values()) for m in members]
    trained = [sum(g.counts[i] for g in groups) for i in range(len(members))]
    for name, layer in zip(names, layers, strict=True):
        layer.a.leaf, layer.b.leaf = leaves.get(f"{name}.a"), leaves.get(f"{name}.b")
        put(model, name, layer)
    stored = [t - n for t, n in zip(total, trained, strict=True)]
    return Attached(groups, stored, [layer.keep_rows for layer in layers])


def _groups(values: Sequence[tuple[str, Tensor]], members: Sequence[Mapping[str, Pair]]) -> list[ParameterGroup]:
    """One group of A's and B's; two where a member gives B a learning rate of its own."""
    ratios = [next((p.lr_ratio for p in m.values()), 1.0) for m in members]
    parts = [("a", "b")] if set(ratios) == {1.0} else [("a",), ("b",)]
    groups = []
    for part in parts:
        own = [(name, value) for name, value in values if name.rpartition(".")[2] in part]
        counts = [sum(int(getattr(p, f"train_{x}").sum()) for p in m.values() for x in part) for m in members]
        if own:
            groups.append(ParameterGroup("adapter", own, counts, lr_scale=ratios if part == ("b",) else None))
    return groups
