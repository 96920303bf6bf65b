"""Trace a step of a shallow model in spans, block by block, so that two of them give the step of a deep model.

    span       start | forward 0 | forward 1 | ... | head | ... | backward 1 | backward 0 | update
    ends at    block 0 is called                   loss and        gradient of   all gradients
                                                   its backward    block 1's output

Every count of a span (bytes at its start, peak and end, launches, FLOPs) is a line in the number of blocks, if the
span is numbered from the nearer end of the model: a block in the middle does the same as its neighbours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from harness.profiling.live_storages import CUDA_BLOCK, LiveStorages, Span, StorageLife
from harness.training.recompute import find_blocks
from harness.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class TracedSpan:
    """A span, and at its peak the bytes of gradients that autograd created."""

    span: Span
    created: int

    def compare(self) -> tuple[int, ...]:
        """Counts that are equal for blocks that are alike, wherever they are."""
        span = self.span
        return span.height, span.end - span.start, span.launches, span.flops


@dataclasses.dataclass(frozen=True)
class ShallowTrace:
    """One step of a model with `depth` blocks, in spans.

    `forward_live` and `forward_flops` are those at the end of the forward pass. `missing` are the parameters of a
    trained backbone that got no gradient. `lives` and `gradients` are the storages that the step created, and those
    of gradients among them; `forward_at` is the event at the end of the forward pass.
    """

    depth: int
    spans: dict[str, TracedSpan]
    forward_live: int
    forward_flops: int
    missing: frozenset[str]
    lives: list[StorageLife] = dataclasses.field(default_factory=list)
    gradients: list[StorageLife] = dataclasses.field(default_factory=list)
    forward_at: int = 0

    def get_blocks(self, direction: str) -> list[TracedSpan] | None:
        """The spans of all blocks from the first on; None where not every block has one."""
        names = [f"{direction} {i}" for i in range(self.depth)]
        return [self.spans[name] for name in names] if all(name in self.spans for name in names) else None


def trace_spans(trainer: Trainer, device: str) -> ShallowTrace:
    """Run one step of a trainer and count it in spans."""
    counts = LiveStorages(CUDA_BLOCK if device == "cuda" else 1)
    forward: dict[str, int] = {}
    gradients: list[StorageLife] = []
    missing: set[str] = set()

    def count_forward() -> None:
        forward.update(live=counts.live, flops=counts.flops, at=counts.now)

    def start_update() -> None:
        for group in trainer.attached.groups:
            missing.update(name for name, p in group.parameters.items() if p.grad is None)
        parameters = itertools.chain.from_iterable(g.parameters.values() for g in trainer.attached.groups)
        gradients.extend(counts.storages(p.grad for p in parameters if p.grad is not None))
        counts.mark("update")

    blocks = find_blocks(trainer.model)
    trainer.after_forward.append(count_forward)
    trainer.before_update.append(start_update)
    try:
        with mark_blocks(blocks, counts.mark), trainer.runner.stream(), counts:
            counts.mark("start")
            trainer.train_step(0)
            counts.close()
    finally:
        trainer.after_forward.remove(count_forward)
        trainer.before_update.remove(start_update)
    spans = {s.label: TracedSpan(s, counts.at_peak(gradients, s.peak_at)) for s in counts.spans}
    totals = forward["live"], forward["flops"], frozenset(missing)
    return ShallowTrace(len(blocks), spans, *totals, counts.lives, gradients, forward["at"])


@contextlib.contextmanager
def mark_blocks(blocks: list[nn.Module], mark: Callable[[str], None]) -> Iterator[None]:
    """Within the context a step calls `mark` with the name of each span that starts at a block."""
    handles = []

    def start_forward(i: int) -> Callable[..., None]:
        return lambda *_: mark(f"forward {i}")

    def end_forward(i: int) -> Callable[..., None]:
        def end(_module: nn.Module, _inputs: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            if isinstance(hidden, Tensor) and hidden.requires_grad:
                hidden.register_hook(lambda _: mark(f"backward {i}"))
            if i == len(blocks) - 1:
                mark("head")

        return end

    for i, block in enumerate(blocks):
        handles += [block.register_forward_pre_hook(start_forward(i)), block.register_forward_hook(end_forward(i))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
