"""Memory and speed of one cell alone. Runs in a process of its own, so the peak is this cell's only."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.backbone import held
from harness.cell import Cell, Protocol
from harness.contracts import Example, Method, Task
from harness.execute import choose_threads
from harness.failure import out_of_memory
from harness.gpu import Gpu
from harness.models import load_model
from harness.packrun import attach_pack, counts
from harness.packs import Pack
from harness.provenance import environment, utc_now
from harness.record import Profile
from harness.task_types import task_type
from harness.task_types.base import Losses, Split
from harness.trace import trace
from harness.train import Trainer

if TYPE_CHECKING:
    from harness.model_source import ModelSource

WARMUP_STEPS, TIMED_STEPS = 5, 20


@dataclasses.dataclass(frozen=True)
class Question:
    """One profile to take: the cell alone, at a batch of `length` tokens a row."""

    key: str
    cell: Cell
    method: Method
    task: Task
    source: ModelSource
    length: int
    device: str
    threads: int | None
    repeats: int = 0
    """Blocks of timed steps; 0 for the short profile at the end of a run."""
    rows: tuple[Example, ...] = ()
    waiting: int | None = None
    """The process that asks, where it has the GPU open itself."""


class RssPeak:
    """Peak resident memory since `start`: the kernel's high-water mark, else a sampling thread."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self.start = self._process.memory_info().rss
        self._peak = self.start
        self._stop = threading.Event()
        self._kernel = self._reset()
        if not self._kernel:
            threading.Thread(target=_sample, args=(weakref.ref(self), self._stop), daemon=True).start()

    @staticmethod
    def _reset() -> bool:
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def note(self) -> None:
        """Look at the memory once."""
        self._peak = max(self._peak, self._process.memory_info().rss)

    def highest(self) -> int:
        """Bytes of the peak."""
        self._stop.set()
        if self._kernel:
            lines = Path("/proc/self/status").read_text().splitlines()
            self._peak = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM"))
        return int(self._peak)

    def above(self, resident: int) -> int:
        """Bytes of the peak above what was resident once, at the start say."""
        return max(0, self.highest() - resident)


def _sample(watched: weakref.ref[RssPeak], stop: threading.Event) -> None:
    """Until stopped, or until nobody is left who could ask: else it would take time from all that is timed later."""
    while not stop.wait(0.002) and (peak := watched()) is not None:
        peak.note()
        del peak


def synchronise(device: str) -> None:
    """Wait for all that a device has been given to do."""
    if device == "cuda":
        torch.cuda.synchronize()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No collection of garbage but where it is asked for.

    It would fall into some step or other, take time there, and decide which of its free blocks the allocator uses.
    """
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def measure(question: Question) -> Profile:
    """Warm up, then time each step. Out of memory and errors become the profile's status."""
    with uncollected():
        return _measured(question)


def _measured(question: Question) -> Profile:
    choose_threads(question.threads)
    empty = _profile(question, "failed")
    try:
        if question.repeats:
            from harness.detail import measure_in_detail

            return measure_in_detail(question, empty)
        return _measure(question, empty)
    except Exception as error:
        status = "oom" if out_of_memory(error) else "failed"
        return empty.model_copy(update={"status": status, "reason": f"{type(error).__name__}: {error}"})


def _profile(question: Question, status: str) -> Profile:
    cell, cuda = question.cell, question.device == "cuda"
    return Profile.model_validate(
        {
            "key": question.key,
            "status": status,
            "suite": cell.suite,
            "method": cell.label,
            "model": cell.model.name,
            "model_revision": cell.model.content,
            "dtype": cell.dtype,
            "quantize": cell.quantize,
            "recompute": cell.recompute,
            "device": question.device,
            "batch_size": cell.protocol.batch_size,
            "length": question.length,
            "warmup_steps": WARMUP_STEPS,
            "timed_steps": TIMED_STEPS,
            "peak_kind": "cuda allocated" if cuda else "rss above loaded backbone",
            "environment": environment(question.device, torch.get_num_threads()),
            "measured": utc_now(),
        }
    )


def vocabulary(model: torch.nn.Module) -> int:
    """Tokens that a model knows."""
    table = getattr(model, "get_input_embeddings")()  # noqa: B009 - transformers' own, unknown to nn.Module's types
    return int(table.num_embeddings)


def load_alone(question: Question) -> torch.nn.Module:
    """The cell's backbone."""
    cell = question.cell
    return load_model(
        question.source,
        question.task.outputs,
        dtype=cell.dtype,
        quantize=cell.quantize,
        device=question.device,
        attention_dropout=cell.protocol.attention_dropout,
        trained_backbone=question.method.trains_backbone,
    )


def made_up_rows(task: Task, protocol: Protocol, length: int, model: torch.nn.Module) -> tuple[Split, Losses]:
    """Rows of random tokens, all of the full length, and the loss of their kind."""
    kind = task_type(task.kind)
    return kind.synthetic(task, protocol, length, vocabulary(model), model.config), kind.losses(protocol)


def train_alone(question: Question, model: torch.nn.Module, steps: int) -> Trainer:
    """The cell's method on its backbone, ready for so many steps on made-up rows."""
    return pack_trainer(Pack((question.cell,), (question.method,)), question, model, steps)


def pack_trainer(pack: Pack, question: Question, model: torch.nn.Module, steps: int) -> Trainer:
    """The same for several cells of the question's kind; what a method plans over all steps it plans over these."""
    first, method = pack.cells[0], pack.methods[0]
    made, losses = made_up_rows(question.task, first.protocol, question.length, model)
    split = made.to(question.device)
    protocols = [c.protocol.model_copy(update={"max_steps": steps, "epochs": float(steps)}) for c in pack.cells]
    cells = tuple(c.model_copy(update={"protocol": p}) for c, p in zip(pack.cells, protocols, strict=True))
    attached, streams = attach_pack(model, Pack(cells, pack.methods), split, losses)
    autocast = first.dtype == "bf16" and method.autocasts
    return Trainer(model, attached, split, protocols, streams, losses, autocast=autocast)


def block_seconds(trainer: Trainer, count: int, device: str) -> float:
    """Seconds of so many further steps together, from an idle device to an idle device."""
    synchronise(device)
    started = time.perf_counter()
    for _ in range(count):
        trainer.one_step(trainer.optimizer.steps)
    synchronise(device)
    return time.perf_counter() - started


def timed_steps(trainer: Trainer, steps: Sequence[int], device: str) -> list[float]:
    """Seconds of each step, in the stream that they run in.

    A GPU is not waited for between steps, as no run does: the time of a step is that between the ends of two, and one
    more step before the first leaves no gap. What a host takes beside is so only seen where the GPU waits for it.
    """
    if device == "cuda":
        return _timed_by_events(trainer, steps)
    found = []
    for step in steps:
        start = time.perf_counter()
        trainer.one_step(step)
        found.append(time.perf_counter() - start)
    return found


def _timed_by_events(trainer: Trainer, steps: Sequence[int]) -> list[float]:
    ends = [torch.cuda.Event(enable_timing=True) for _ in range(1 + len(steps))]
    for end, step in zip(ends, [*steps[:1], *steps], strict=True):
        trainer.one_step(step)
        end.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(ends)]


UNWATCHED = "NVML is not there (pip install nvidia-ml-py): other processes on the GPU were not looked for"


def reservations(trainer: Trainer, gpu: Gpu) -> str | None:
    """What a profile says of steps that a GPU ran one operation at a time, or that others may have slowed down."""
    found = [f"steps run without a CUDA graph: {trainer.runner.fallback}"] if trainer.runner.fallback else []
    found += [UNWATCHED] if trainer.device.type == "cuda" and not gpu.watched else []
    return "; ".join(found) or None


def _measure(question: Question, empty: Profile) -> Profile:
    cell, cuda = question.cell, question.device == "cuda"
    model = load_alone(question)
    gc.collect()
    loaded = RssPeak().start
    own = list(model.parameters())
    trainer = train_alone(question, model, WARMUP_STEPS + TIMED_STEPS)
    _, state = counts(held(model, own), trainer.attached, 0)
    counted = trace(trainer, question.device)
    gc.collect()
    if cuda:  # of the steps alone, as in detail: what a method takes to attach is no step's
        torch.cuda.reset_peak_memory_stats()
    rss = None if cuda else RssPeak()
    gpu = Gpu(question.device, question.waiting)
    others = gpu.others()
    with trainer.runner.stream():  # as a run does: a graph is not captured from what lies on the default one
        for step in range(1, WARMUP_STEPS):
            trainer.one_step(step)
        timed = timed_steps(trainer, range(WARMUP_STEPS, WARMUP_STEPS + TIMED_STEPS), question.device)
    others = sorted({*others, *gpu.others()})
    found: dict[str, Any] = {
        "status": "ok",
        "reason": reservations(trainer, gpu),
        "peak_bytes": rss.above(loaded) if rss else torch.cuda.max_memory_allocated(),
        "train_state": state,
        "shares": counted.shares,
        "flops": counted.flops,
        "launches": counted.launches,
    }
    if others:
        return shared(empty, found, others)
    speed = {"step_seconds": timed, "samples_per_second": cell.protocol.batch_size / float(np.median(timed))}
    return empty.model_copy(update=found | speed)


def shared(empty: Profile, found: dict[str, Any], others: list[int]) -> Profile:
    """A profile without its speed, which other processes on the GPU have a part in."""
    told = [found["reason"], f"no throughput: processes {', '.join(map(str, others))} share the GPU"]
    return empty.model_copy(update=found | {"shared_with": others, "reason": "; ".join(filter(None, told))})
