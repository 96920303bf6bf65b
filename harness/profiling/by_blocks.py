"""Predict a step of a deep model from a step with 3 blocks and one with 4, if all of its blocks are alike.

    attach at full depth ──> are all blocks alike? ──> trained state, and the update of buffered gradients
    trace 3 and 4 blocks ──> are the inner spans alike? ──> a line in the depth for each span
                                                             peak = the largest span

Every condition is checked on the model and its traces. Where one does not hold there is no result, and the whole model
is traced.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from harness.models.depth import read_depth
from harness.models.load import load_config
from harness.profiling.block_layout import read_layouts
from harness.profiling.fake_step import prepare_trainer
from harness.profiling.live_storages import CUDA_BLOCK, LiveStorages, Span
from harness.profiling.prediction import Prediction, Step, set_batch
from harness.profiling.scaled import scale_trace
from harness.profiling.shallow import ShallowTrace, TracedSpan, trace_spans
from harness.profiling.trace import measure_shares, split_peak
from harness.replicas.fused_adamw import FusedAdamW
from harness.replicas.optimizer import ReplicaOptimizer
from harness.training.recompute import find_blocks
from harness.training.trainer import Trainer

SHALLOW = (3, 4)
"""Blocks of the two traced models: the larger one has two inner blocks to compare."""
MARKS = (1009, 1013)
"""Rows per batch of the two traces for any number of rows: primes, so that what is a multiple grows with the rows."""
ENDS = {"first": (0, 0), "second": (1, 1), "last but one": (1, 2), "last": (2, 3)}
"""Block -> its number in each of the traced models. Peaks of inner blocks lie on a line, so an end is the largest."""
LEAFWISE = (ReplicaOptimizer, FusedAdamW)
"""Optimizers that update the gradients that autograd created leaf by leaf."""
DIRECTIONS = ("forward", "backward")


@dataclasses.dataclass(frozen=True)
class DeepState:
    """What a trainer holds at full depth: bytes by category, and the span of an update where gradients have buffers."""

    depth: int
    shares: Mapping[str, int]
    update: Span | None


@dataclasses.dataclass(frozen=True)
class Figures:
    """Counts at full depth of one span that may have the peak."""

    peak: int
    created: int


@dataclasses.dataclass(frozen=True)
class DeepStep:
    """Counts of a step at full depth: its spans, which include the one with the peak, and its totals."""

    spans: tuple[Figures, ...]
    forward_live: int
    forward_flops: int
    launches: int
    flops: int

    def to_prediction(self, k: int, shares: Mapping[str, int], device: str) -> Prediction:
        """The prediction of k replicas that hold these bytes from step to step."""
        worst = max(self.spans, key=lambda figures: figures.peak)
        memory = split_peak(dict(shares), worst.peak, worst.created, self.forward_live, device)
        return Prediction(k, memory, self.flops, self.forward_flops, self.launches)


def extend_lines(shallow: ShallowTrace, deeper: ShallowTrace, state: DeepState, update: Span | None) -> DeepStep:
    """The step at full depth, by lines through two traces; `update` is the deeper one's, where `state` has one."""
    far = state.depth - deeper.depth

    def line(low: int, high: int) -> int:
        return high + (high - low) * far

    pairs: list[tuple[TracedSpan, TracedSpan]] = []
    for direction, (low, high) in itertools.product(DIRECTIONS, ENDS.values()):
        if f"{direction} {low}" in shallow.spans:
            pairs.append((shallow.spans[f"{direction} {low}"], deeper.spans[f"{direction} {high}"]))
    pairs += [(shallow.spans[name], deeper.spans[name]) for name in ("start", "head", "update")]
    spans = [Figures(line(a.span.peak, b.span.peak), line(a.created, b.created)) for a, b in pairs]
    sums = [_sum_counts(trace) for trace in (shallow, deeper)]
    launches, flops = (line(low, high) for low, high in zip(*sums, strict=True))
    if state.update is not None and update is not None:
        # chunks of a buffer are no line in the depth, so the update at full depth replaces its line
        small, large = (trace.spans["update"].span for trace in (shallow, deeper))
        others = large.peak - large.start - update.height
        spans[-1] = Figures(line(small.start, large.start) + state.update.height + others, 0)
        launches += large.launches - update.launches + state.update.launches - line(small.launches, large.launches)
        flops += large.flops - update.flops + state.update.flops - line(small.flops, large.flops)
    return DeepStep(
        tuple(spans),
        line(shallow.forward_live, deeper.forward_live),
        line(shallow.forward_flops, deeper.forward_flops),
        launches,
        flops,
    )


def _sum_counts(trace: ShallowTrace) -> tuple[int, int]:
    spans = [traced.span for traced in trace.spans.values()]
    return sum(span.launches for span in spans), sum(span.flops for span in spans)


def are_alike(shallow: ShallowTrace, deeper: ShallowTrace) -> bool:
    """Whether the traces have the same spans, and their inner blocks the same counts."""
    if (shallow.depth, deeper.depth) != SHALLOW or shallow.missing != deeper.missing:
        return False
    for direction in DIRECTIONS:
        low, high = shallow.get_blocks(direction), deeper.get_blocks(direction)
        if low is None or high is None:
            # no block has a gradient where only the head trains; some without one are not alike
            if any(name.startswith(direction) for name in (*shallow.spans, *deeper.spans)):
                return False
            continue
        if not low[1].compare() == high[1].compare() == high[2].compare():
            return False
    return {"start", "head", "update"} <= set(shallow.spans) & set(deeper.spans)


class BlockPredictor:
    """Predicts steps from shallow models; what does not depend on the batch is computed once per model and method."""

    def __init__(self, min_depth: int = sum(SHALLOW) + 1) -> None:
        # tracing a model of fewer blocks as a whole takes no longer than its two shallow models
        self.min_depth = max(min_depth, SHALLOW[-1] + 1)
        self._states: dict[Any, tuple[DeepState, Any] | None] = {}

    def predict(self, step: Step) -> Prediction | None:
        """The prediction of a step; None where the blocks of its model are not alike under its methods."""
        traced = self.trace(step)
        if traced is None:
            return None
        deep, state = traced
        return deep.to_prediction(len(step.cells), state.shares, step.device)

    def trace(self, step: Step) -> tuple[DeepStep, DeepState] | None:
        """The counts of a step at full depth, and what it holds from step to step; None as for `predict`."""
        traced = self._trace_shallow([step, step])
        if traced is None:
            return None
        (shallow, deeper), state, update = traced
        return (extend_lines(shallow, deeper, state, update), state) if are_alike(shallow, deeper) else None

    def trace_batches(self, step: Step, batches: Sequence[int]) -> tuple[dict[int, DeepStep], DeepState] | None:
        """The counts of a step by its rows per batch, as `trace` has them, from two traces for all of them.

        None as for `predict`, and where a count is neither constant nor a multiple of the rows.
        """
        traced = self._trace_shallow([set_batch(step, rows) for rows in MARKS])
        if traced is None:
            return None
        traces, state, update = traced
        block = CUDA_BLOCK if step.device == "cuda" else 1
        steps = {}
        for batch in batches:
            pairs = zip(traces, MARKS, strict=True)
            shallow, deeper = (scale_trace(trace, rows, batch, block) for trace, rows in pairs)
            if not are_alike(shallow, deeper):
                return None
            steps[batch] = extend_lines(shallow, deeper, state, update)
        return steps, state

    def _trace_shallow(self, steps: Sequence[Step]) -> tuple[list[ShallowTrace], DeepState, Span | None] | None:
        """Traces of a step with 3 blocks and one with 4, the state at full depth, and the update with 4 blocks."""
        key = _build_state_key(steps[0])
        if key not in self._states:
            self._states[key] = prepare_deep(steps[0], self.min_depth)
        prepared = self._states[key]
        if prepared is None:
            return None
        state, layouts = prepared
        traces, update = [], None
        for step, depth in zip(steps, SHALLOW, strict=True):
            trainer = prepare_shallow(step, depth)
            if read_layouts(trainer) != layouts or not is_local(trainer):
                return None
            traces.append(trace_spans(trainer, step.device))
            if depth == SHALLOW[-1] and state.update is not None:
                update = measure_update(trainer, step.device)
        return traces, state, update


def _build_state_key(step: Step) -> tuple[Any, ...]:
    """What the state depends on: neither the batch, nor the length of rows, nor activation checkpointing."""
    cell = step.cells[0]
    protocol = repr(cell.protocol.select("algorithm", "optimizer"))
    members = [(repr(m), repr(c.seeds)) for m, c in zip(step.methods, step.cells, strict=True)]
    model = (step.source.ref.content, step.source.shape, cell.dtype, cell.quantize)
    return (repr(members), protocol, model, step.task.kind, step.task.outputs, step.device)


def prepare_shallow(step: Step, depth: int) -> Trainer:
    """The trainer of a step on a model with so many blocks."""
    return prepare_trainer(dataclasses.replace(step, source=dataclasses.replace(step.source, layers=depth)))


def prepare_deep(step: Step, min_depth: int) -> tuple[DeepState, Any] | None:
    """The state at full depth and the layout of its blocks; None where they are not alike."""
    depth = read_depth(load_config(step.source, step.task.outputs))
    if depth is None or depth < min_depth:
        return None
    trainer = prepare_trainer(step)
    layouts = read_layouts(trainer)
    if layouts is None or len(find_blocks(trainer.model)) != depth or not is_local(trainer):
        return None
    update = None if has_created_gradients(trainer) else measure_update(trainer, step.device)
    block = CUDA_BLOCK if step.device == "cuda" else 1
    shares = measure_shares(trainer.model, trainer.attached, trainer.optimizer.list_tensors(), block)
    return DeepState(depth, shares, update), layouts


def is_local(trainer: Trainer) -> bool:
    """Whether a step is only a forward pass, a backward pass and an update: no penalty, no callback after it."""
    attached = trainer.attached
    created = has_created_gradients(trainer)
    # another optimizer may update all gradients that autograd created as one tensor, which is no line
    known = type(trainer.optimizer) in LEAFWISE or not created
    # for a small group the gradients are gathered, and that is no line either
    gathered = created and any(g.theta.numel() <= trainer.optimizer.gathered for g in attached.groups if g.parameters)
    return attached.penalty is None and not attached.after_step and attached.model is None and known and not gathered


def has_created_gradients(trainer: Trainer) -> bool:
    """Whether autograd creates gradients, which the update then reads leaf by leaf."""
    return any(group.parameters for group in trainer.attached.groups)


def measure_update(trainer: Trainer, device: str) -> Span:
    """Counts of an update at full depth, with gradients in their buffers."""
    counts = LiveStorages(CUDA_BLOCK if device == "cuda" else 1)
    trainer.optimizer.begin(0)
    with trainer.runner.stream(), counts:
        counts.mark("update")
        trainer.optimizer.update()
        counts.close()
    return counts.spans[0]
