"""Measure the activations that a forward pass saves for the backward pass."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from harness.profiling.live_storages import LiveStorages


def measure_saved_activations(forward: Callable[[], Tensor]) -> int:
    """Bytes of all storages that `forward` creates and that live as long as its result, the result included.

    Storages are counted, not saved tensors: two views share one storage, and activation checkpointing also saves
    tensors outside of autograd's graph.
    """
    with LiveStorages() as storages:
        result = forward()
    live_bytes: int = storages.live
    del result  # only now: the result holds the graph, and the graph the activations
    return live_bytes
