"""Clocks for training steps, and a meter of resident memory."""

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.core.gpu import Gpu
from harness.core.profile import Profile
from harness.training.trainer import Trainer

WARMUP_STEPS, TIMED_STEPS = 5, 20
"""Steps before the clock starts, and steps in one timed block."""


class RssPeak:
    """Peak resident memory in bytes since it was made: the kernel's high-water mark, or a sampling thread without it.

    `start` are the resident bytes at that time.
    """

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self.start = self._process.memory_info().rss
        self._peak = self.start
        self._stop = threading.Event()
        self._kernel = self._reset()
        if not self._kernel:
            # a weak reference, so that the thread ends with this object
            threading.Thread(target=_sample, args=(weakref.ref(self), self._stop), daemon=True).start()

    @staticmethod
    def _reset() -> bool:
        """Reset the kernel's high-water mark; False if the system has none."""
        try:
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): 5 sets VmHWM to the present size
        except OSError:
            return False
        return True

    def note(self) -> None:
        """Sample the resident memory once."""
        self._peak = max(self._peak, self._process.memory_info().rss)

    def read_peak(self) -> int:
        """Bytes of the peak."""
        self._stop.set()
        if self._kernel:
            lines = Path("/proc/self/status").read_text().splitlines()
            self._peak = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM"))
        return int(self._peak)

    def measure_above(self, resident: int) -> int:
        """Bytes of the peak above `resident` bytes, 0 if it lies below."""
        return max(0, self.read_peak() - resident)


def _sample(watched: weakref.ref[RssPeak], stop: threading.Event) -> None:
    """Sample until stopped or until `watched` is freed; a thread that stays would slow later timings."""
    while not stop.wait(0.002) and (peak := watched()) is not None:
        peak.note()
        del peak  # the wait must not hold a reference


def synchronise(device: str) -> None:
    """Wait until the device has finished all queued work."""
    if device == "cuda":
        torch.cuda.synchronize()


@contextlib.contextmanager
def disable_gc() -> Iterator[None]:
    """Turn automatic garbage collection off.

    A collection would fall into an arbitrary step, take time there, and change which free blocks the allocator uses.
    """
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def time_block(trainer: Trainer, count: int, device: str) -> float:
    """Seconds of `count` further steps together, from an idle device to an idle device."""
    synchronise(device)
    started = time.perf_counter()
    for _ in range(count):
        trainer.train_step(trainer.optimizer.steps)
    synchronise(device)
    return time.perf_counter() - started


def time_steps(trainer: Trainer, steps: Sequence[int], device: str) -> list[float]:
    """Seconds of each of the steps.

    On a GPU the steps are queued without waiting, as in a run. The time of a step is the time between the ends of two
    steps; the first step runs twice, so that it has a predecessor. Time of the host shows only if the GPU waits for it.
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
    torch.cuda.synchronize()  # events have no time before the device has passed them
    return [before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(ends)]


NO_NVML = "NVML is not installed (pip install nvidia-ml-py): other processes on the GPU could not be listed"


def describe_caveats(trainer: Trainer, gpu: Gpu) -> str | None:
    """The profile's reason for caution: steps without a CUDA graph, or a GPU whose sharers are unknown."""
    caveats = [f"steps run without a CUDA graph: {trainer.runner.fallback}"] if trainer.runner.fallback else []
    caveats += [NO_NVML] if trainer.device.type == "cuda" and not gpu.has_nvml else []
    return "; ".join(caveats) or None


def build_shared_profile(empty: Profile, fields: dict[str, Any], others: list[int]) -> Profile:
    """A profile of memory only: other processes (pids) on the GPU would distort its speed."""
    reasons = [fields["reason"], f"no throughput: processes {', '.join(map(str, others))} share the GPU"]
    return empty.model_copy(update=fields | {"shared_with": others, "reason": "; ".join(filter(None, reasons))})
