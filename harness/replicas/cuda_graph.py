"""A training step as a CUDA graph per shape: small models are bound by the launches of their kernels."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor

from harness.core.failure import is_out_of_memory

Compute = Callable[[Tensor, Any], Tensor]
"""(row numbers on the device, shape) -> losses [K]; reads and writes nothing but tensors that stay where they are."""


@functools.cache
def _get_side_stream() -> torch.cuda.Stream:
    """One for all packs of a process: cuBLAS keeps a workspace for each stream that it has seen."""
    return torch.cuda.Stream()


@contextlib.contextmanager
def use_side_stream(device: torch.device) -> Iterator[None]:
    """On a GPU the one stream of all that a pack computes: what a graph captures must not lie on the default one."""
    if device.type != "cuda":
        yield
        return
    side = _get_side_stream()
    side.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(side):
            yield
    finally:  # what an error leaves behind is read on the other stream
        torch.cuda.current_stream().wait_stream(side)


class EagerRunner:
    """Runs each step as it comes: the CPU's way, and the way of what cannot be captured."""

    capturing = False
    seconds = 0.0
    fallback: str | None = None

    def __init__(self, compute: Compute) -> None:
        self.compute = compute

    def step(self, rows: Tensor, shape: Hashable, *, plain: bool) -> Tensor:
        return self.compute(rows, shape)

    def reset(self) -> None:
        """Forget what was captured: the tensors have moved."""

    def free(self) -> bool:
        """Give back the memory of what is captured; whether a step that found too little may be tried once more."""
        return False

    def stream(self) -> contextlib.AbstractContextManager[Any]:
        """What a run happens in."""
        return contextlib.nullcontext()


class GraphRunner(EagerRunner):
    """The first step of a shape runs as it comes, which warms up; the second is captured, all later ones replayed.

    A capture that fails leaves the run eager, with the reason in `fallback`. Want of memory is raised where there are
    graphs to free, which keep as much as a step needs, or replicas to part: smaller packs can be captured.
    """

    def __init__(self, compute: Compute) -> None:
        super().__init__(compute)
        self.side = _get_side_stream()
        self._seen: dict[Hashable, int] = {}  # replicas by shape
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._freed = 0

    def step(self, rows: Tensor, shape: Hashable, *, plain: bool) -> Tensor:
        key = (len(rows), shape)
        if plain or self.fallback is not None or key not in self._seen:
            losses = self.compute(rows, shape)
            if not plain:
                self._seen[key] = len(losses)
            return losses
        if key not in self._graphs and not self._capture(key, rows, shape):
            return self.compute(rows, shape)
        graph, graph_rows, losses = self._graphs[key]
        graph_rows.copy_(rows)
        graph.replay()
        return losses

    def _capture(self, key: Hashable, rows: Tensor, shape: Hashable) -> bool:
        started = time.perf_counter()
        graph, graph_rows = torch.cuda.CUDAGraph(), torch.empty_like(rows)
        self.capturing = True
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self.side):
                losses = self.compute(graph_rows, shape)
            self._graphs[key] = graph, graph_rows, losses
        except RuntimeError as error:
            if is_out_of_memory(error) and (self._seen[key] > 1 or self._can_free):
                raise  # `capturing` stays: nothing of the step has run
            self.fallback = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            self.reset()
        self.capturing = False
        self.seconds += time.perf_counter() - started
        return self.fallback is None

    def reset(self) -> None:
        self._seen.clear()
        self._drop()
        self._freed = 0

    def _drop(self) -> None:
        """All graphs and their pool: while a tensor of it lives, torch captures nothing into it again."""
        self._graphs.clear()
        self._pool = torch.cuda.graph_pool_handle()

    @property
    def _can_free(self) -> bool:
        """Each shape may want the memory of the others once as it runs first and once as it is captured."""
        return bool(self._graphs) and self._freed < 2 * len(self._seen)

    def free(self) -> bool:
        """The graphs are captured anew when their shapes come again, in a pool of their own."""
        if not self._can_free:
            return False
        self._drop()
        self._freed += 1
        self.capturing = False
        return True

    def stream(self) -> contextlib.AbstractContextManager[Any]:
        return use_side_stream(torch.device("cuda"))


def make_runner(compute: Compute, device: torch.device) -> EagerRunner:
    """The way to run steps on a device."""
    return GraphRunner(compute) if device.type == "cuda" else EagerRunner(compute)
