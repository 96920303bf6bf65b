"""Bytes, operations and FLOPs of whatever runs, real tensors or fake ones: the allocator's requests, added up."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable
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


class LiveStorages(TorchDispatchMode):
    """Counts the storages that operations make while the mode is on.

    `live` and `peak` are bytes beyond what was there before, each storage rounded up to `block`; `launches` are
    operations that compute something, views apart; `flops` those of matrix products, attention and convolutions.
    `mark` sets those that live now apart: `marked` are their bytes that lived at the peak, and `watched_at_peak` those
    of what `watched` gave then.
    """

    def __init__(self, block: int = 1, watched: Callable[[], Iterable[Tensor]] = tuple) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.block, self.watched = block, watched
        self.live = self.peak = self.launches = self.flops = self.marked = self.watched_at_peak = 0
        self._known: dict[int, Any] = {}
        self._marked: set[int] = set()
        self._marked_live = 0

    def mark(self) -> None:
        """Set the storages apart that live now; a peak before counts as one of now."""
        self._marked = set(self._known)
        self.marked = self._marked_live = self.live

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _tensors((args, kwargs)):
            self._note(tensor, made=False)
        out = op(*args, **(kwargs or {}))
        aliases = [r.alias_info is not None for r in op._schema.returns]
        views = bool(aliases) and all(aliases)
        for tensor in _tensors(out):
            # a view of a real tensor that meets fake ones is a fake storage of its own, yet nothing new
            self._note(tensor, made=not views)
        self._count(op, views, args, kwargs, out)
        return out

    def _count(self, op: Any, views: bool, args: Any, kwargs: Any, out: Any) -> None:
        writes = op._schema.is_mutable
        if (views and not writes) or op in _FREE:
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
        size = -(-storage.nbytes() // self.block) * self.block if made else 0
        self._known[key] = weakref.ref(storage, functools.partial(self._freed, key, size))
        self.live += size
        if self.live > self.peak:
            self.peak, self.marked = self.live, self._marked_live
            self.watched_at_peak = storage_bytes(self.watched(), self.block)

    def _freed(self, key: int, size: int, _: Any) -> None:
        if self._known.pop(key, None) is None:
            return
        self.live -= size
        if key in self._marked:
            self._marked.discard(key)
            self._marked_live -= size


_FREE = {torch.ops.aten._unsafe_view.default, torch.ops.aten.lift_fresh.default, torch.ops.aten.empty.memory_format}


def _tensors(tree: Any) -> Iterable[Tensor]:
    """Those with a storage of their own; a sparse one is made of others, which are seen as they are made."""
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.layout == torch.strided)


def storage_bytes(tensors: Iterable[Tensor], block: int = 1) -> int:
    """Bytes of the storages of some tensors, each storage once."""
    found = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(-(-size // block) * block for size in found.values())
