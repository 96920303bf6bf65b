"""Bytes that a forward pass leaves for the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def held_bytes(forward: Callable[[], Tensor]) -> int:
    """Bytes of all that `forward` makes and that lives while its result does, the result included.

    Storages are counted, not saved tensors: two views of one are held once, and what a checkpoint keeps for its
    recomputation counts wherever it is kept.
    """
    with _Storages() as made:
        result = forward()
    held: int = made.bytes_alive()
    del result
    return held


class _Storages(TorchDispatchMode):
    """Watches the storages that operations make. A weak reference keeps a storage's address from being used again."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._note((args, kwargs), given=True)
        out = op(*args, **(kwargs or {}))
        self._note(out, given=False)
        return out

    def _note(self, tree: Any, *, given: bool) -> None:
        for tensor in (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._seen:
                self._seen[storage._cdata] = StorageWeakRef(storage), 0 if given else storage.nbytes()

    def bytes_alive(self) -> int:
        return sum(size for ref, size in self._seen.values() if not ref.expired())
