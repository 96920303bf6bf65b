"""Count bytes, kernel launches and FLOPs of all operations that run, on real or fake tensors.

Time is counted in events, one for each storage that is created or freed:

    event        1    2    3    4    5    6
    storage a    [--------------------)          created at 1, freed at 5
    storage b         [---------)                created at 2, freed at 4
    storage c              [----)                created at 3, freed at 6: lives at the peak, event 3
"""

from __future__ import annotations

import dataclasses
import functools
import math
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_ATEN = torch.ops.aten
# torch's FLOP counter has no formula for the CPU's fused attention; its operands have the layout of the GPU's
FORMULAS = {
    **flop_registry,
    _ATEN._scaled_dot_product_flash_attention_for_cpu: flop_registry[_ATEN._scaled_dot_product_flash_attention],
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _ATEN._scaled_dot_product_flash_attention_backward
    ],
    # torch's FLOP counter has no formula for products that are added in place
    _ATEN.addmm_: flop_registry[_ATEN.addmm],
    _ATEN.baddbmm_: flop_registry[_ATEN.baddbmm],
}
CUDA_BLOCK = 512
"""PyTorch's CUDA allocator rounds each request up to a multiple of so many bytes."""


@dataclasses.dataclass
class StorageLife:
    """Bytes of a storage (`size`: rounded up), and the events at which it was created and freed."""

    size: int
    created_at: int
    freed_at: float = math.inf
    bytes: int = 0


@dataclasses.dataclass
class Span:
    """Counts between two calls of `LiveStorages.mark`: bytes at its start and end and at its peak, which is an event.

    `launches` and `flops` are those of the span alone. `first` and `last` are the events at its two ends.
    """

    label: str
    start: int
    end: int
    peak: int
    peak_at: int
    launches: int = 0
    flops: int = 0
    first: int = 0
    last: int = 0

    @property
    def height(self) -> int:
        """The peak above the start."""
        return self.peak - self.start


class LiveStorages(TorchDispatchMode):
    """Counts the storages that operations create while the mode is on.

    `live` and `peak` are bytes beyond those that existed before, each storage rounded up to `block` bytes. `launches`
    are operations that compute something, so no views. `flops` are those of matrix products, attention and
    convolutions.
    """

    def __init__(self, block: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.block = block
        self.live = self.peak = self.launches = self.flops = 0
        self.spans: list[Span] = []
        self.lives: list[StorageLife] = []
        """All storages that were created, those that are freed by now included."""
        self._span: Span | None = None
        self._records: dict[int, tuple[Any, StorageLife]] = {}
        self.now = self._peak_at = 0
        """The number of the last event."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: nothing here is compiled, and the guard would be two more calls around each operation."""
        return False

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op is _READ_DEVICE:  # two of three calls
            return op(*args)
        for tensor in _find_tensors((args, kwargs)):
            # inputs are noted first: one that existed before the mode must not count as created
            self._note(tensor, created=False)
        out = op(*args, **(kwargs or {}))
        aliases = [r.alias_info is not None for r in op._schema.returns]
        views = bool(aliases) and all(aliases)
        for tensor in _find_tensors(out):
            # a view of a real tensor among fake ones gets a fake storage of its own, which takes no memory
            self._note(tensor, created=not views)
        self._count(op, views, args, kwargs, out)
        return out

    def _count(self, op: Any, views: bool, args: Any, kwargs: Any, out: Any) -> None:
        writes = op._schema.is_mutable
        if (views and not writes) or op in _COSTLESS:
            return
        formula = FORMULAS.get(op._overloadpacket)
        flops = 0 if formula is None else int(formula(*args, **(kwargs or {}), out_val=out))
        self.launches += 1
        self.flops += flops
        if self._span is not None:
            self._span.launches += 1
            self._span.flops += flops

    def _note(self, tensor: Tensor, *, created: bool) -> None:
        """Record the tensor's storage unless it is known; one that was not `created` here has size 0."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._records:
            return
        self.now += 1
        count = storage.nbytes() if created else 0
        record = StorageLife(round_up(count, self.block), self.now, bytes=count)
        if created:
            self.lives.append(record)
        self._records[key] = weakref.ref(storage, functools.partial(self._note_freed, key)), record
        self.live += record.size
        if self.live > self.peak:
            self.peak, self._peak_at = self.live, self.now
        if self._span is not None and self.live > self._span.peak:
            self._span.peak, self._span.peak_at = self.live, self.now

    def _note_freed(self, key: int, _: Any) -> None:
        if key in self._records:
            _, record = self._records.pop(key)  # the allocator may give its address to another storage
            self.now += 1
            record.freed_at = self.now
            self.live -= record.size

    def mark(self, label: str) -> None:
        """End the current span, if there is one, and start the next."""
        self.close()
        self._span = Span(label, self.live, self.live, self.live, self.now, first=self.now)
        self.spans.append(self._span)

    def close(self) -> None:
        """End the current span."""
        if self._span is not None:
            self._span.end, self._span.last, self._span = self.live, self.now, None

    def storages(self, tensors: Iterable[Tensor]) -> list[StorageLife]:
        """The recorded storages of some tensors, each once."""
        keys = {t.untyped_storage()._cdata for t in tensors}
        return [self._records[key][1] for key in keys if key in self._records]

    def at_peak(self, storages: Iterable[StorageLife], event: int | None = None) -> int:
        """Bytes of those of `storages` that lived at the peak, or at another event."""
        at = self._peak_at if event is None else event
        return sum(s.size for s in storages if s.created_at <= at < s.freed_at)


_READ_DEVICE = torch.ops.prim.device.default
"""Dispatched for the device of a fake tensor only."""
_COSTLESS = {
    torch.ops.aten._unsafe_view.default,
    torch.ops.aten.lift_fresh.default,
    torch.ops.aten.empty.memory_format,
}
"""Operations that are no views and launch no kernel."""


def _find_tensors(tree: Any) -> Iterator[Tensor]:
    """All strided tensors in a tree; a sparse tensor consists of strided ones, which are seen when they are created."""
    # torch's tree_leaves takes several times as long, and operations have no other containers
    if isinstance(tree, Tensor):
        if tree.layout == torch.strided:
            yield tree
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from _find_tensors(item)
    elif isinstance(tree, dict):
        yield from _find_tensors(list(tree.values()))


def round_up(count: int, block: int) -> int:
    """The least multiple of `block` that is not below `count`."""
    return -(-count // block) * block


def sum_storage_bytes(tensors: Iterable[Tensor], block: int = 1) -> int:
    """Bytes of the storages of `tensors`, each storage once and rounded up to `block` bytes."""
    sizes = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(round_up(size, block) for size in sizes.values())
