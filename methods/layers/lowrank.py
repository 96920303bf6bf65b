"""The layer of the LoRA family (arXiv 2106.09685): y = W x + scale * B A drop(x) for K replicas at once.

x [K*B, ..., d_in] -> rows [K, n, d_in] --A [K, r, d_in]--> h [K, n, r] --B [K, d_out, r]--> [K, n, d_out]

lowrank_function.py computes it, shared_input.py lets the layers of one module share their input.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.core.quantization import QUANTIZATIONS
from harness.replicas.dropout import CounterDropout
from harness.replicas.groups import Attached, ParameterGroup
from methods.layers.frozen_product import is_plain_product
from methods.layers.lowrank_function import compute_layers
from methods.layers.matrices import MatrixBank
from methods.layers.packed import PartialMatrix
from methods.layers.pair import Pair, pad_pair
from methods.layers.replica_linear import get_trained_dtype, replace_module
from methods.layers.replicas import check_rows
from methods.layers.shared_input import SharedInput

INDEX_BYTES = 4
"""Bytes of one int32 in the index of trained entries."""


class LowRankLinear(nn.Module):
    """A frozen linear layer plus K low-rank pairs, for x [K*B, ..., d_in]."""

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
        """The wrapped layer's weight, whose dtype T5 reads."""
        return self.base.weight

    @functools.cached_property
    def holds_product(self) -> bool:
        """Whether the function of the pair computes W x too; else its result is added to that of the backbone's layer.

        Decided in the first forward pass: what trains is known by then, also where a method chose it after the pairs.
        """
        return is_plain_product(self.base)

    @property
    def rank(self) -> int:
        return self.a.shape[1]

    @property
    def drops(self) -> bool:
        """Whether dropout changes the adapter's input in this pass."""
        return self.drop.training and any(self.drop.p)

    def drop_rows(self, rows: Tensor, shape: torch.Size) -> Tensor:
        """Rows [K, n, d] after the dropout of x, which has `shape`: the same masks whenever a step asks for them."""
        dropped: Tensor = self.drop(rows.view(*shape[:-1], rows.shape[-1]))
        return dropped.view(rows.shape)

    def forward(self, x: Tensor) -> Tensor:
        check_rows(x, len(self.scales))
        y = self.reading.compute(self, x, compute_layers)
        return y if self.holds_product else self.base(x) + y

    def cast_scales(self, like: Tensor) -> Tensor:
        """The scales [K, 1, 1] in the dtype and on the device of `like`."""
        if self._cast is None or self._cast.dtype != like.dtype:
            self._cast = self.scales[:, None, None].to(like)
        return self._cast

    def expand_scales(self, like: Tensor) -> Tensor:
        """The scales [K, 1, rank], for layers side by side."""
        return self.cast_scales(like).expand(-1, 1, self.rank)

    def keep_rows(self, rows: Sequence[int]) -> None:
        self.a.keep(rows)
        self.b.keep(rows)
        self.reading.join(self.a)
        self.scales, self._cast = self.scales[list(rows)], None


def attach_pairs(model: nn.Module, members: Sequence[Mapping[str, Pair]]) -> Attached:
    """Wrap each linear layer that any member names; returns the group "adapter" (none if nothing trains).

    `members` has one mapping from site name to pair per replica.
    """
    device, dtype = next(model.parameters()).device, get_trained_dtype(model)
    sites = set[str]().union(*members)
    names = [name for name, _ in model.named_modules() if name in sites]
    values: list[tuple[str, Tensor]] = []
    whole: set[str] = set()
    readings: dict[str, SharedInput] = {}
    layers: list[LowRankLinear] = []
    for name in names:
        present = [m[name] for m in members if name in m]
        rank = max(pair.a.shape[0] for pair in present)
        pairs = [pad_pair(m.get(name), rank, present[0]) for m in members]
        level, moves = present[0].frozen, any(pair.moves for pair in present)
        a = PartialMatrix([p.a.to(device, dtype) for p in pairs], [p.train_a for p in pairs], level, moves)
        b = PartialMatrix([p.b.to(device, dtype) for p in pairs], [p.train_b for p in pairs], level, moves)
        values += [(f"{name}.{part}", p.start) for part, p in (("a", a), ("b", b)) if p.start is not None]
        whole |= {f"{name}.{part}" for part, p in (("a", a), ("b", b)) if p.index is None}
        a.start = b.start = None
        drop = CounterDropout([p.dropout for p in pairs], f"{name}.lora_dropout")
        reading = _get_shared_input(model, name.rpartition(".")[0], readings)
        layers.append(LowRankLinear(model.get_submodule(name), a, b, [p.scale for p in pairs], drop, reading))
    # MatrixBank needs a group's scattered entries in its first columns; the sort is stable.
    values.sort(key=lambda item: item[0] in whole)
    groups = _build_groups(values, members)
    leaves = {leaf.name: leaf for group in groups for leaf in group.leaves.values()}
    stored = []
    for replica, member in enumerate(members):
        total = sum(pair.a.numel() + pair.b.numel() for pair in member.values())
        stored.append(total - sum(group.counts[replica] for group in groups))
    for name, layer in zip(names, layers, strict=True):
        layer.a.leaf, layer.b.leaf = leaves.get(f"{name}.a"), leaves.get(f"{name}.b")
        replace_module(model, name, layer)
    for path, reading in readings.items():
        module = model.get_submodule(path)
        own = {name: child for name, child in module.named_children() if isinstance(child, LowRankLinear)}
        reading.group_layers(type(module), own)
        reading.narrow_sites()
    matrices = MatrixBank(groups, [p for layer in layers for p in (layer.a, layer.b)])
    beside = [count_frozen_bytes(m, dtype.itemsize) for m in members]
    keep: list[Callable[[Sequence[int]], None]] = [matrices.keep, *(layer.keep_rows for layer in layers)]
    return Attached(groups, stored, keep, invalidate=[matrices.invalidate], frozen_bytes=beside)


def _get_shared_input(model: nn.Module, path: str, readings: dict[str, SharedInput]) -> SharedInput:
    """The shared input of the module at `path`, one for all of its sites."""
    if path not in readings:
        readings[path] = SharedInput()
        model.get_submodule(path).register_forward_hook(readings[path].invalidate, always_call=True)
    return readings[path]


def count_frozen_bytes(member: Mapping[str, Pair], itemsize: int) -> int:
    """Bytes of one replica's frozen entries and of the index of its trained ones, as if it trained alone.

    In a pack the storage depends on neighbours: LoRA beside LoRA-SP has an index of all its entries. A record must not
    depend on them.
    """
    narrow = _find_narrow_sites(member)
    total = 0
    for name, pair in member.items():
        for values, mask in ((pair.a, pair.train_a), (pair.b, pair.train_b)):
            trained = int(mask.sum())
            if trained == mask.size:
                continue
            if pair.frozen == "none":
                total += mask.size * itemsize  # the dense matrix that trained entries are scattered into
            elif trained == 0 or pair.moves or values.flatten().numpy()[~mask.ravel()].any():
                total += QUANTIZATIONS.get(pair.frozen).count_vector_bytes(mask.size)
            total += trained * INDEX_BYTES
        if name in narrow:
            total += int(pair.train_a.sum()) * INDEX_BYTES
    return total


def _find_narrow_sites(member: Mapping[str, Pair]) -> set[str]:
    """Sites with a second index, into the saved columns of their input: see `SharedInput.narrow_sites`."""
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
    """One group of all A and B; two groups where a member has another learning rate for B (LoRA+)."""
    first_pairs = [next(iter(member.values()), None) for member in members]
    ratios = [1.0 if pair is None else pair.lr_ratio for pair in first_pairs]
    parts = [("a", "b")] if set(ratios) == {1.0} else [("a",), ("b",)]
    groups = []
    for part in parts:
        part_values = [(name, value) for name, value in values if name.rpartition(".")[2] in part]
        leaf_counts = {}
        for name, _ in part_values:
            leaf_counts[name] = [_count_trained(member, name) for member in members]
        counts = [sum(per_member) for per_member in zip(*leaf_counts.values(), strict=True)]
        if part_values:
            scale = ratios if part == ("b",) else None
            groups.append(ParameterGroup("adapter", part_values, counts, lr_scale=scale, leaf_counts=leaf_counts))
    return groups


def _count_trained(member: Mapping[str, Pair], name: str) -> int:
    """One replica's trained entries of the factor `name` (SITE.a or SITE.b), 0 where it has no pair at the site."""
    site, _, factor = name.rpartition(".")
    return int(getattr(member[site], f"train_{factor}").sum()) if site in member else 0
