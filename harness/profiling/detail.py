r"""Take the detailed profile of the verb `profile`: peaks by phase, blocks of steps, real lengths, ceiling, energy.

load | first step (counted) | warm-up, timed blocks, energy | rows of real lengths | evaluation or generation
       \__ FLOPs, launches    \__ steady step: peak, seconds   \__ tokens per second
"""

from __future__ import annotations

import dataclasses
import gc
import itertools
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from harness.core.gpu import Gpu
from harness.core.method import Example
from harness.core.profile import PhaseMemory, Profile
from harness.data.sampler import ReplicaSampler
from harness.data.task_types import load_task_type
from harness.models.backbone import measure_storage
from harness.models.load import load_tokenizer
from harness.profiling.ceiling import measure_matmul_flops
from harness.profiling.clocks import (
    TIMED_STEPS,
    WARMUP_STEPS,
    RssPeak,
    build_shared_profile,
    describe_caveats,
    synchronise,
    time_steps,
)
from harness.profiling.request import ProfileRequest, build_trainer, load_alone
from harness.profiling.trace import trace
from harness.training.pack_setup import count_parameters
from harness.training.trainer import Trainer

WARM_SECONDS = {"cpu": 0.0, "cuda": 0.5}
"""Least seconds of steps before the clock starts: an idle GPU takes a while to reach its clock rate."""
METER_SECONDS = 2.0
"""Least seconds of steps for a measurement of energy: the GPU's meter is updated about ten times per second."""
Phase = Literal["load", "first step", "steady step", "evaluation", "generation"]


class PhaseMeter:
    """Measures peak memory in bytes phase by phase: `seen` has the phases that ended, `rss` meters the present one."""

    def __init__(self, device: str, waiting: int | None = None) -> None:
        self.cuda, self.gpu, self.seen = device == "cuda", Gpu(device, waiting), list[PhaseMemory]()
        self._start()

    def _start(self) -> None:
        self.rss = RssPeak()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()

    def end(self, phase: Phase) -> None:
        """Store the peaks of the phase that ends, then collect garbage and start the next phase."""
        allocated = torch.cuda.max_memory_allocated() if self.cuda else None
        reserved = torch.cuda.max_memory_reserved() if self.cuda else None
        rss = self.rss.read_peak()
        self.seen.append(
            PhaseMemory(phase=phase, allocated=allocated, reserved=reserved, rss=rss, device=self.gpu.used())
        )
        gc.collect()
        self._start()


@dataclasses.dataclass
class TimedBlocks:
    """Seconds of each step by block, the numbers of the steps, their tokens without padding, and padding's share."""

    blocks: list[list[float]]
    steps: range
    tokens: int
    padding: float

    @property
    def seconds(self) -> list[float]:
        return [s for block in self.blocks for s in block]


def measure_in_detail(question: ProfileRequest, empty: Profile) -> Profile:
    """The detailed profile of a cell: `empty` with all measured fields. Raises what the cell raises."""
    cell, device = question.cell, question.device
    phases = PhaseMeter(device, question.waiting)
    model = load_alone(question)
    phases.end("load")
    loaded = phases.rss.start
    backbone_parameters = list(model.parameters())
    # the counted step, and warm-up and blocks twice: on full-length and on real rows
    steps = 1 + 2 * (WARMUP_STEPS + question.repeats * TIMED_STEPS)
    trainer = build_trainer(question, model, steps)
    counted = trace(trainer, device)
    phases.end("first step")
    other_pids = phases.gpu.list_other_processes()
    with trainer.runner.stream():
        timed = _time_blocks(trainer, question)
        energy = measure_energy(trainer, question, timed.steps, phases.gpu)
    phases.end("steady step")
    # of the steady step: the first one also held what the count itself takes
    peak = phases.seen[-1].allocated or phases.seen[-1].rss - loaded
    real = _time_real_rows(trainer, question)
    with trainer.runner.stream():
        _evaluate(trainer, question, phases)
    other_pids = sorted({*other_pids, *phases.gpu.list_other_processes()})
    _, state = count_parameters(measure_storage(model, backbone_parameters), trainer.attached, 0, cell.protocol)
    fields: dict[str, Any] = {"status": "ok", "phases": phases.seen, "shares": counted.shares}
    fields |= {"reason": describe_caveats(trainer, phases.gpu), "peak_bytes": max(0, peak)}
    fields |= {"flops": counted.flops, "launches": counted.launches, "train_state": state}
    if other_pids:
        return build_shared_profile(empty, fields, other_pids)
    ceiling = measure_matmul_flops(device, torch.bfloat16 if cell.dtype == "bf16" else torch.float32)
    return empty.model_copy(update=fields | _summarize_speed(question, timed, real, counted.flops, ceiling, energy))


def _time_blocks(trainer: Trainer, question: ProfileRequest) -> TimedBlocks:
    """Timed blocks of steps after a warm-up, from the trainer's present step."""
    first = trainer.optimizer.steps + WARMUP_STEPS
    steps = range(first, first + question.repeats * TIMED_STEPS)
    _warm_up(trainer, steps, question.device)
    parts = [steps[i : i + TIMED_STEPS] for i in range(0, len(steps), TIMED_STEPS)]
    blocks = [time_steps(trainer, part, question.device) for part in parts]
    tokens = positions = 0  # counted after the clock has stopped
    for step in steps:
        rows = trainer.order.at(step)
        tokens += int(trainer.split.lengths[rows].sum())
        positions += len(rows) * sum(trainer.split.shape(trainer.order.select_padding_rows(step)))
    return TimedBlocks(blocks, steps, tokens, max(0.0, 1 - tokens / positions))


def _warm_up(trainer: Trainer, steps: range, device: str) -> None:
    """Run steps until each shape [rows, length] of the timed `steps` has a CUDA graph and the GPU its clock rate.

    The first step of a shape runs eagerly, the second is captured, the third replays the graph.
    """
    started = time.perf_counter()
    order, split = trainer.order, trainer.split
    shapes = {(len(order.at(step)), split.shape(order.select_padding_rows(step))): step for step in steps}
    capture_steps = list(itertools.chain.from_iterable([step] * 3 for step in shapes.values()))
    for step in [*range(steps.start - WARMUP_STEPS, steps.start), *(capture_steps if device == "cuda" else [])]:
        trainer.train_step(step)
    while time.perf_counter() - started < WARM_SECONDS[device]:
        trainer.train_step(steps.start)
        synchronise(device)  # else the host would queue steps for the whole time


def measure_energy(trainer: Trainer, question: ProfileRequest, steps: range, gpu: Gpu) -> float | None:
    """Joules of the GPU per 1,000 samples, over warm steps; None without a meter."""
    synchronise(question.device)
    before = gpu.read_joules()
    if before is None:
        return None
    started, rounds = time.perf_counter(), 0
    while time.perf_counter() - started < METER_SECONDS:
        for step in steps:
            trainer.train_step(step)
        synchronise(question.device)
        rounds += 1
    after = gpu.read_joules()
    samples = rounds * len(steps) * question.cell.protocol.batch_size
    return None if after is None else (after - before) * 1000 / samples


def _time_real_rows(trainer: Trainer, question: ProfileRequest) -> TimedBlocks | None:
    """Timed blocks on the task's own rows; None if the request has no rows."""
    if not question.rows:
        return None
    trainer.split = _tokenise_rows(question, question.rows, train=True).to(question.device)
    p = question.cell.protocol
    lengths = trainer.split.lengths
    trainer.order = ReplicaSampler(trainer.order.streams, lengths, p.batch_size, by_length=p.group_by_length)
    trainer.runner.reset()  # its graphs read the tensors of the synthetic rows
    with trainer.runner.stream():
        return _time_blocks(trainer, question)


def _tokenise_rows(question: ProfileRequest, rows: Sequence[Example], *, train: bool) -> Any:
    kind, tokenizer = load_task_type(question.task.kind), load_tokenizer(question.source)
    return kind.tokenise(tokenizer, question.task, rows, question.cell.protocol, train=train)


def _evaluate(trainer: Trainer, question: ProfileRequest, phases: PhaseMeter) -> None:
    """Predict one batch of the task's own rows as a run does, by generation if the task writes texts."""
    if not question.rows:
        return
    kind, tokenizer, cell = load_task_type(question.task.kind), load_tokenizer(question.source), question.cell
    split = _tokenise_rows(question, question.rows[: cell.protocol.batch_size], train=False).to(question.device)
    kind.predict(trainer.model, split, 1, tokenizer, cell.protocol, autocast=trainer.autocast)
    phases.end("evaluation" if question.task.outputs is not None else "generation")


def _summarize_speed(
    question: ProfileRequest,
    full: TimedBlocks,
    real: TimedBlocks | None,
    flops: int,
    ceiling: float,
    energy: float | None,
) -> dict[str, Any]:
    """The fields of a profile about speed: percentiles and tokens on real rows, if there are any, else on full ones."""
    batch, median = question.cell.protocol.batch_size, float(np.median(full.seconds))
    used = real or full
    percentiles = np.percentile(used.seconds, [10, 50, 90])
    return {
        "step_seconds": full.seconds,
        "samples_per_second": batch / median,
        "blocks": [batch / float(np.median(b)) for b in used.blocks],
        "rows": "real lengths" if real else "full length",
        "step_percentiles": tuple(float(p) for p in percentiles),
        "tokens_per_second": used.tokens / sum(used.seconds),
        "padding": used.padding,
        "ceiling_flops": ceiling,
        "ceiling_share": flops / median / ceiling,
        "joules_per_1000": energy,
        "timed_steps": len(full.seconds),
    }
