"""Training steps as CUDA graphs, one per shape, because kernel launches bound the speed of small models.

step of a shape:  first   -> eager, which warms up
                  second  -> captured, then replayed
                  later   -> replayed
"""

from __future__ import annotations

import contextlib
import functools
import time
import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor

from harness.core.failure import is_out_of_memory

Compute = Callable[[Tensor, Any], Tensor]
"""(row numbers on the device, shape) -> losses [K]; reads and writes only tensors whose addresses do not change."""


@functools.cache
def _get_side_stream() -> torch.cuda.Stream:
    """The one side stream of this process: cuBLAS allocates a workspace for every stream that it sees."""
    return torch.cuda.Stream()


@contextlib.contextmanager
def use_side_stream(device: torch.device) -> Iterator[None]:
    """Run on the side stream on a GPU, because a graph cannot capture the default stream."""
    if device.type != "cuda":
        yield
        return
    side = _get_side_stream()
    side.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(side):
            yield
    finally:
        # After an error too, the default stream reads results of this one.
        torch.cuda.current_stream().wait_stream(side)


class EagerRunner:
    """Runs each step eagerly: on the CPU, and where a step cannot be captured."""

    capturing = False
    seconds = 0.0
    fallback: str | None = None
    """Why steps on a GPU run without a graph; None on a CPU, and where graphs are used."""

    def __init__(self, compute: Compute, fallback: str | None = None) -> None:
        self.compute = compute
        if fallback is not None:
            self.fallback = fallback

    def step(self, rows: Tensor, shape: Hashable, *, plain: bool) -> Tensor:
        return self.compute(rows, shape)

    def reset(self) -> None:
        """Drop captured graphs, because their tensors have moved."""

    def free(self) -> bool:
        """Free the memory of captured graphs; returns whether a step that ran out of memory may be tried again."""
        return False

    def stream(self) -> contextlib.AbstractContextManager[Any]:
        """The context that all steps run in."""
        return contextlib.nullcontext()


class GraphRunner(EagerRunner):
    """Runs the first step of a shape eagerly, captures the second, and replays it from then on.

    After a failed capture all steps are eager, with the reason in `fallback`. Out of memory is raised instead where
    freeing graphs can help (each holds as much as a step), or where the pack can be split: a smaller one may fit.
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
            # The eager first step also warms up cuBLAS and autotuning, which a capture must not include.
            if not plain:
                self._seen[key] = len(losses)
            return losses
        if key not in self._graphs and not self._capture(key, rows, shape):
            return self.compute(rows, shape)
        graph, graph_rows, losses = self._graphs[key]
        # A graph reads its row numbers at the address with which it was captured.
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
                # `capturing` stays True, so the caller knows that no part of the step has run.
                raise
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
        """Drop all graphs and their pool; torch does not capture into a pool again while one of its tensors lives."""
        self._graphs.clear()
        self._pool = torch.cuda.graph_pool_handle()

    @property
    def _can_free(self) -> bool:
        """Whether freeing can help: each shape may need others' memory twice, for its eager step and its capture."""
        return bool(self._graphs) and self._freed < 2 * len(self._seen)

    def free(self) -> bool:
        """Free all graphs; a shape that comes again is captured again, in a new pool."""
        if not self._can_free:
            return False
        self._drop()
        self._freed += 1
        self.capturing = False
        return True

    def stream(self) -> contextlib.AbstractContextManager[Any]:
        return use_side_stream(torch.device("cuda"))


def bind_weakly(method: Compute) -> Compute:
    """A function that calls a method without a reference to its owner, so that a trainer is freed when a pack ends.

    A cycle of trainer and graphs would wait for the garbage collector, which counts objects and not their GPU memory.
    """
    weak_method = weakref.WeakMethod(method)

    def compute(rows: Tensor, shape: Any) -> Tensor:
        bound_method = weak_method()
        assert bound_method is not None
        return bound_method(rows, shape)

    return compute


def make_runner(compute: Compute, device: torch.device) -> EagerRunner:
    """The runner for a device: CUDA graphs on a GPU, eager on a CPU."""
    return GraphRunner(compute) if device.type == "cuda" else EagerRunner(compute)
