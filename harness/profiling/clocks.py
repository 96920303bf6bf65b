"""Clocks and meters of training steps."""

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.core.gpu import Gpu
from harness.core.record import Profile
from harness.training.trainer import Trainer

if TYPE_CHECKING:
    pass

WARMUP_STEPS, TIMED_STEPS = 5, 20


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

    def read_peak(self) -> int:
        """Bytes of the peak."""
        self._stop.set()
        if self._kernel:
            lines = Path("/proc/self/status").read_text().splitlines()
            self._peak = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM"))
        return int(self._peak)

    def measure_above(self, resident: int) -> int:
        """Bytes of the peak above what was resident once, at the start say."""
        return max(0, self.read_peak() - resident)


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
def disable_gc() -> Iterator[None]:
    """No collection of garbage but where it is asked for.

    It would fall into some step or other, take time there, and decide which of its free blocks the allocator uses.
    """
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def time_block(trainer: Trainer, count: int, device: str) -> float:
    """Seconds of so many further steps together, from an idle device to an idle device."""
    synchronise(device)
    started = time.perf_counter()
    for _ in range(count):
        trainer.train_step(trainer.optimizer.steps)
    synchronise(device)
    return time.perf_counter() - started


def time_steps(trainer: Trainer, steps: Sequence[int], device: str) -> list[float]:
    """Seconds of each step, in the stream that they run in.

    A GPU is not waited for between steps, as no run does: the time of a step is that between the ends of two, and one
    more step before the first leaves no gap. What a host takes beside is so only seen where the GPU waits for it.
    """
    if device == "cuda":
        return _time_by_events(trainer, steps)
    seconds = []
    for step in steps:
        start = time.perf_counter()
        trainer.train_step(step)
        seconds.append(time.perf_counter() - start)
    return seconds


def _time_by_events(trainer: Trainer, steps: Sequence[int]) -> list[float]:
    ends = [torch.cuda.Event(enable_timing=True) for _ in range(1 + len(steps))]
    for end, step in zip(ends, [*steps[:1], *steps], strict=True):
        trainer.train_step(step)
        end.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(ends)]


NO_NVML = "NVML is not there (pip install nvidia-ml-py): other processes on the GPU were not looked for"


def describe_caveats(trainer: Trainer, gpu: Gpu) -> str | None:
    """What a profile says of steps that a GPU ran one operation at a time, or that others may have slowed down."""
    caveats = [f"steps run without a CUDA graph: {trainer.runner.fallback}"] if trainer.runner.fallback else []
    caveats += [NO_NVML] if trainer.device.type == "cuda" and not gpu.has_nvml else []
    return "; ".join(caveats) or None


def build_shared_profile(empty: Profile, found: dict[str, Any], others: list[int]) -> Profile:
    """A profile without its speed, which other processes on the GPU have a part in."""
    reasons = [found["reason"], f"no throughput: processes {', '.join(map(str, others))} share the GPU"]
    return empty.model_copy(update=found | {"shared_with": others, "reason": "; ".join(filter(None, reasons))})
