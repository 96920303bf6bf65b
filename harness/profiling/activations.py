"""Bytes that a forward pass leaves for the backward pass."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from harness.profiling.live_storages import LiveStorages


def measure_saved_activations(forward: Callable[[], Tensor]) -> int:
    """Bytes of all that `forward` makes and that lives while its result does, the result included.

    Storages are counted, not saved tensors: two views of one are held once, and what a checkpoint keeps for its
    recomputation counts wherever it is kept.
    """
    with LiveStorages() as storages:
        result = forward()
    live_bytes: int = storages.live
    del result
    return live_bytes
