"""The one module of the LoRA family (arXiv 2106.09685): y = W x + scale * B A drop(x), K replicas at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.replicas.dropout import CounterDropout
from harness.replicas.groups import Attached, ParameterGroup
from methods.layers.frozen import FrozenLevel, count_quantized_bytes
from methods.layers.matrices import MatrixBank
from methods.layers.packed import PartialMatrix
from methods.layers.replica_linear import get_trained_dtype, replace_module
from methods.layers.replicas import check_rows

INDEX_BYTES = 4
"""Of a place in the map of trained entries, int32."""


@dataclasses.dataclass
class Pair:
    """One replica's low-rank pair at one site: A [rank, d_in], B [d_out, rank]; masks are True where trained.

    `frozen` is how entries that do not train are stored; with `moves`, which ones train changes while training.
    """

    a: Tensor
    b: Tensor
    train_a: np.ndarray
    train_b: np.ndarray
    scale: float
    dropout: float
    lr_ratio: float = 1.0
    frozen: FrozenLevel = "none"
    moves: bool = False

    def drop_dead_ranks(self) -> Pair:
        """The same pair less the ranks that neither train nor, one factor being zero, add anything."""
        trains = self.train_a.any(1) | self.train_b.any(0)
        adds = (self.a.numpy().any(1)) & (self.b.numpy().any(0))
        alive = np.flatnonzero(trains | adds)
        if self.moves or len(alive) == len(self.a):
            return self
        a, b = self.a[alive], self.b[:, alive]
        return dataclasses.replace(self, a=a, b=b, train_a=self.train_a[alive], train_b=self.train_b[:, alive])


class SharedInput:
    """What the sites of one module read, in the precision of the matrix product: query and value share one copy.

    It forgets its last input as the module ends, and before a site's backward pass, which may have recomputed the
    module in part: what a Reading holds is held beyond what autograd keeps.
    """

    def __init__(self) -> None:
        self.sites: list[PartialMatrix] = []
        self._x: Tensor | None = None
        self._made: dict[object, Tensor] = {}

    def join(self, a: PartialMatrix) -> None:
        """Take a site, also again when its replicas have changed: equal columns are one tensor from then on."""
        if a not in self.sites:
            self.sites.append(a)
        for other in self.sites:
            if a.columns is not None and other.columns is not None and torch.equal(a.columns, other.columns):
                a.columns = other.columns
                break

    def narrow_sites(self) -> None:
        """All sites are there: keep their own columns only, where these together are fewer than all."""
        for width in {site.shape[2] for site in self.sites}:
            alike = [site for site in self.sites if site.shape[2] == width and site.leaf is not None]
            column_counts = {
                id(site.columns): width if site.columns is None else site.columns.shape[1] for site in alike
            }
            for site in alike if sum(column_counts.values()) < width else ():
                site.narrow_to(site.columns)

    def take(self, x: Tensor, k: int, dtype: torch.dtype, a: PartialMatrix) -> tuple[Tensor, Tensor]:
        """x [K*B, ..., d] -> rows [K, n, d], and those of their columns that the gradient of A needs."""
        if self._x is not x:
            self._x, self._made = x, {}
        rows = self._made.get(dtype)
        if rows is None:
            rows = self._made[dtype] = x.detach().reshape(k, -1, x.shape[-1]).to(dtype)
        gradient_rows = rows
        if a.narrow is not None and a.columns is not None:
            gradient_rows = self._columns(rows, a.columns)
        return rows, gradient_rows

    def invalidate(self, *module_call: object) -> None:
        """Also a forward hook."""
        self._x, self._made = None, {}

    def _columns(self, rows: Tensor, columns: Tensor) -> Tensor:
        key = (rows.dtype, id(columns))
        if key not in self._made:
            self._made[key] = rows.gather(2, columns[:, None, :].expand(-1, rows.shape[1], -1))
        return self._made[key]


class _LowRank(torch.autograd.Function):
    """scale * B A x, [K*B, ..., d_out].

    Keeps x only where A trains, and of it the columns that train; keeps A x only where B trains.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor | None, b: Tensor | None, layer: LowRankLinear) -> Tensor:
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        k = len(layer.scales)
        rows, gradient_rows = layer.reading.take(x, k, dtype, layer.a)
        scale = layer.cast_scales(rows)
        h = torch.bmm(rows, layer.a.dense(dtype).transpose(1, 2)) * scale
        y = torch.bmm(h, layer.b.dense(dtype).transpose(1, 2))
        ctx.layer, ctx.shape, ctx.dtype = layer, x.shape, x.dtype
        ctx.save_for_backward(gradient_rows if a is not None else None, h if b is not None else None, scale)
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        gradient_rows, h, scale = ctx.saved_tensors
        layer: LowRankLinear = ctx.layer
        layer.reading.invalidate()
        dy = grads[0].reshape(len(layer.scales), -1, grads[0].shape[-1]).to(scale.dtype)
        dx = da = db = None
        if h is not None:
            db = layer.b.gather_gradient(torch.bmm(dy.transpose(1, 2), h))
        if gradient_rows is not None or ctx.needs_input_grad[0]:
            dh = torch.bmm(dy, layer.b.dense(dy.dtype)) * scale
            if gradient_rows is not None:
                da = layer.a.gather_gradient(torch.bmm(dh.transpose(1, 2), gradient_rows))
            if ctx.needs_input_grad[0]:
                dx = torch.bmm(dh, layer.a.dense(dy.dtype)).view(ctx.shape).to(ctx.dtype)
        return dx, da, db, None


class LowRankLinear(nn.Module):
    """A frozen linear layer with K low-rank pairs beside it, for x [K*B, ..., d_in]."""

    def __init__(
        self,
        base: nn.Module,
        a: PartialMatrix,
        b: PartialMatrix,
        scales: Sequence[float],
        drop: CounterDropout,
        reading: SharedInput,
    ) -> None:
        super().__init__()
        self.base, self.a, self.b, self.drop, self.reading = base, a, b, drop, reading
        reading.join(a)
        self.scales = torch.tensor(list(scales), dtype=torch.float64)
        self._cast: Tensor | None = None

    @property
    def weight(self) -> Any:
        """The wrapped layer's: T5 asks for its dtype."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        check_rows(x, len(self.scales))
        y: Tensor = self.base(x)
        a, b = (p.leaf.tensor if p.leaf is not None else None for p in (self.a, self.b))
        low: Tensor = _LowRank.apply(self.drop(x), a, b, self)  # type: ignore[no-untyped-call]
        return y + low

    def cast_scales(self, like: Tensor) -> Tensor:
        """[K, 1, 1] in the precision and on the device of `like`."""
        if self._cast is None or self._cast.dtype != like.dtype:
            self._cast = self.scales[:, None, None].to(like)
        return self._cast

    def keep_rows(self, rows: Sequence[int]) -> None:
        self.a.keep(rows)
        self.b.keep(rows)
        self.reading.join(self.a)
        self.scales, self._cast = self.scales[list(rows)], None


def _pad_pair(pair: Pair | None, rank: int, like: Pair) -> Pair:
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
    device, dtype = next(model.parameters()).device, get_trained_dtype(model)
    names = [name for name, _ in model.named_modules() if any(name in m for m in members)]
    values: list[tuple[str, Tensor]] = []
    whole: set[str] = set()
    readings: dict[str, SharedInput] = {}
    layers: list[LowRankLinear] = []
    for name in names:
        present = [m[name] for m in members if name in m]
        rank = max(pair.a.shape[0] for pair in present)
        pairs = [_pad_pair(m.get(name), rank, present[0]) for m in members]
        level, moves = present[0].frozen, any(pair.moves for pair in present)
        a = PartialMatrix([p.a.to(device, dtype) for p in pairs], [p.train_a for p in pairs], level, moves)
        b = PartialMatrix([p.b.to(device, dtype) for p in pairs], [p.train_b for p in pairs], level, moves)
        values += [(f"{name}.{part}", p.start) for part, p in (("a", a), ("b", b)) if p.start is not None]
        whole |= {f"{name}.{part}" for part, p in (("a", a), ("b", b)) if p.index is None}
        a.start = b.start = None
        drop = CounterDropout([p.dropout for p in pairs], f"{name}.lora_dropout")
        reading = _get_shared_input(model, name.rpartition(".")[0], readings)
        layers.append(LowRankLinear(model.get_submodule(name), a, b, [p.scale for p in pairs], drop, reading))
    values.sort(key=lambda item: item[0] in whole)  # those that are put among frozen entries lie together
    groups = _build_groups(values, members)
    leaves = {leaf.name: leaf for group in groups for leaf in group.leaves.values()}
    total = [sum(p.a.numel() + p.b.numel() for p in m.values()) for m in members]
    trained = [sum(g.counts[i] for g in groups) for i in range(len(members))]
    for name, layer in zip(names, layers, strict=True):
        layer.a.leaf, layer.b.leaf = leaves.get(f"{name}.a"), leaves.get(f"{name}.b")
        replace_module(model, name, layer)
    for reading in readings.values():
        reading.narrow_sites()
    matrices = MatrixBank(groups, [p for layer in layers for p in (layer.a, layer.b)])
    stored = [t - n for t, n in zip(total, trained, strict=True)]
    beside = [count_frozen_bytes(m, dtype.itemsize) for m in members]
    keep: list[Callable[[Sequence[int]], None]] = [matrices.keep, *(layer.keep_rows for layer in layers)]
    return Attached(groups, stored, keep, invalidate=[matrices.invalidate], frozen_bytes=beside)


def _get_shared_input(model: nn.Module, path: str, readings: dict[str, SharedInput]) -> SharedInput:
    """Of the module at `path`, one for all of its sites."""
    if path not in readings:
        readings[path] = SharedInput()
        model.get_submodule(path).register_forward_hook(readings[path].invalidate, always_call=True)
    return readings[path]


def count_frozen_bytes(member: Mapping[str, Pair], itemsize: int) -> int:
    """Bytes of one replica's frozen entries and of the maps of its trained ones, as they are where it trains alone.

    In a pack its neighbours decide what is really stored: LoRA beside LoRA-SP has a map of all its entries. A record
    must not depend on them.
    """
    narrow = _find_narrow_sites(member)
    total = 0
    for name, pair in member.items():
        for values, mask in ((pair.a, pair.train_a), (pair.b, pair.train_b)):
            trained = int(mask.sum())
            if trained == mask.size:
                continue
            if pair.frozen == "none":
                total += mask.size * itemsize  # the matrix that trained entries are put into
            elif trained == 0 or pair.moves or values.flatten().numpy()[~mask.ravel()].any():
                total += count_quantized_bytes(mask.size, pair.frozen)
            total += trained * INDEX_BYTES
        if name in narrow:
            total += int(pair.train_a.sum()) * INDEX_BYTES
    return total


def _find_narrow_sites(member: Mapping[str, Pair]) -> set[str]:
    """Sites that have a second map, into the columns that they keep of what they read: see `Reading.settle`."""
    reading: dict[tuple[str, int], list[str]] = {}
    for name, pair in member.items():
        if pair.train_a.any():
            reading.setdefault((name.rpartition(".")[0], pair.a.shape[1]), []).append(name)
    narrow = set[str]()
    for (_, width), names in reading.items():
        columns = {n: np.arange(width) if member[n].moves else np.flatnonzero(member[n].train_a.any(0)) for n in names}
        column_counts = {numbers.tobytes(): len(numbers) for numbers in columns.values()}
        if sum(column_counts.values()) < width:
            narrow |= {name for name, numbers in columns.items() if len(numbers) < width}
    return narrow


def _build_groups(values: Sequence[tuple[str, Tensor]], members: Sequence[Mapping[str, Pair]]) -> list[ParameterGroup]:
    """One group of A's and B's; two where a member gives B a learning rate of its own."""
    ratios = [next((p.lr_ratio for p in m.values()), 1.0) for m in members]
    parts = [("a", "b")] if set(ratios) == {1.0} else [("a",), ("b",)]
    groups = []
    for part in parts:
        part_values = [(name, value) for name, value in values if name.rpartition(".")[2] in part]
        counts = [sum(int(getattr(p, f"train_{x}").sum()) for p in m.values() for x in part) for m in members]
        if part_values:
            groups.append(ParameterGroup("adapter", part_values, counts, lr_scale=ratios if part == ("b",) else None))
    return groups
