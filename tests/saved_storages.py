"""What autograd saves in a forward pass, by storage: two views of one tensor count once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def list_saved(forward: Callable[[], Tensor], known: Iterable[Tensor] = ()) -> list[int]:
    """Bytes of each storage that autograd saves, ascending, without those of `known`."""
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    known_storages = {tensor.untyped_storage().data_ptr() for tensor in known}
    sizes = sorted(size for key, size in saved.items() if key not in known_storages)
    del result  # only now: it holds the graph, and freed storages would give their address away
    return sizes
