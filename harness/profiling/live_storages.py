"""Bytes, operations and FLOPs of whatever runs, real tensors or fake ones: the allocator's requests, added up."""

from __future__ import annotations

import dataclasses
import functools
import math
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_ATEN = torch.ops.aten
# torch's counter passes over the CPU's fused attention, whose operands lie as those of the GPU's do
FORMULAS = {
    **flop_registry,
    _ATEN._scaled_dot_product_flash_attention_for_cpu: flop_registry[_ATEN._scaled_dot_product_flash_attention],
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _ATEN._scaled_dot_product_flash_attention_backward
    ],
}
CUDA_BLOCK = 512
"""Bytes that PyTorch's CUDA allocator rounds each request up to."""


@dataclasses.dataclass
class Made:
    """A storage: its bytes, and when it was made and freed, counted in storages made and freed before."""

    size: int
    made_at: int
    freed_at: float = math.inf


class LiveStorages(TorchDispatchMode):
    """Counts the storages that operations make while the mode is on.

    `live` and `peak` are bytes beyond what was there before, each storage rounded up to `block`; `launches` are
    operations that compute something, views apart; `flops` those of matrix products, attention and convolutions.
    """

    def __init__(self, block: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.block = block
        self.live = self.peak = self.launches = self.flops = 0
        self._known: dict[int, tuple[Any, Made]] = {}
        self._now = self._peak_at = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _find_tensors((args, kwargs)):
            self._note(tensor, made=False)
        out = op(*args, **(kwargs or {}))
        aliases = [r.alias_info is not None for r in op._schema.returns]
        views = bool(aliases) and all(aliases)
        for tensor in _find_tensors(out):
            # a view of a real tensor that meets fake ones is a fake storage of its own, yet nothing new
            self._note(tensor, made=not views)
        self._count(op, views, args, kwargs, out)
        return out

    def _count(self, op: Any, views: bool, args: Any, kwargs: Any, out: Any) -> None:
        writes = op._schema.is_mutable
        if (views and not writes) or op in _COSTLESS:
            return
        self.launches += 1
        formula = FORMULAS.get(op._overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **(kwargs or {}), out_val=out))

    def _note(self, tensor: Tensor, *, made: bool) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._now += 1
        record = Made(-(-storage.nbytes() // self.block) * self.block if made else 0, self._now)
        self._known[key] = weakref.ref(storage, functools.partial(self._freed, key)), record
        self.live += record.size
        if self.live > self.peak:
            self.peak, self._peak_at = self.live, self._now

    def _freed(self, key: int, _: Any) -> None:
        if key in self._known:
            _, record = self._known.pop(key)
            self._now += 1
            record.freed_at = self._now
            self.live -= record.size

    def storages(self, tensors: Iterable[Tensor]) -> list[Made]:
        """Those of some tensors, where operations made them."""
        keys = {t.untyped_storage()._cdata for t in tensors}
        return [self._known[key][1] for key in keys if key in self._known]

    def at_peak(self, storages: Iterable[Made]) -> int:
        """Bytes of those among some storages that lived at the peak."""
        return sum(s.size for s in storages if s.made_at <= self._peak_at < s.freed_at)


_COSTLESS = {
    torch.ops.aten._unsafe_view.default,
    torch.ops.aten.lift_fresh.default,
    torch.ops.aten.empty.memory_format,
    torch.ops.prim.device.default,  # a fake tensor's device, which a real one is not asked for
}


def _find_tensors(tree: Any) -> Iterable[Tensor]:
    """Those with a storage of their own; a sparse one is made of others, which are seen as they are made."""
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.layout == torch.strided)


def sum_storage_bytes(tensors: Iterable[Tensor], block: int = 1) -> int:
    """Bytes of the storages of some tensors, each storage once."""
    sizes = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(-(-size // block) * block for size in sizes.values())
