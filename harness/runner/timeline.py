"""When the parts of a command ended, so that the time outside of training can be read from its run.json."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psutil

from harness.core.listener import Listener
from harness.core.progress import PlannedPack
from harness.core.record import Record


class Timeline:
    """Seconds from the start of this process to each mark; the first mark of a name counts, unless `again`."""

    def __init__(self) -> None:
        self.started = psutil.Process().create_time()
        self.seconds: dict[str, float] = {}

    def mark(self, name: str, *, again: bool = False) -> None:
        if again or name not in self.seconds:
            self.seconds[name] = round(time.time() - self.started, 3)


class TimedListener:
    """Passes all events on to `listener`, marks some of them, and calls `prepare` when the first pack starts.

    The argument of `prepare` is the name of the worker that trains it; '' for this process.
    """

    def __init__(self, listener: Listener, timeline: Timeline, prepare: Callable[[str], object]) -> None:
        self.listener, self.timeline, self.prepare = listener, timeline, prepare

    def on_plan(self, packs: Sequence[PlannedPack]) -> None:
        self.listener.on_plan(packs)

    def on_pack_start(self, task: str, cells: int, steps: int, keys: Sequence[str] = (), worker: str = "") -> None:
        if "first pack" not in self.timeline.seconds:
            self.timeline.mark("first pack")
            self.prepare(worker)
        self.listener.on_pack_start(task, cells, steps, keys, worker)

    def step(self, step: int, losses: Sequence[float], worker: str = "") -> None:
        self.timeline.mark("first step")
        self.listener.step(step, losses, worker)

    def on_cell_end(self, record: Record) -> None:
        self.timeline.mark("last record", again=True)
        self.listener.on_cell_end(record)

    def on_pack_end(self, worker: str = "") -> None:
        self.listener.on_pack_end(worker)

    def on_profile_start(self, label: str, number: int = 1, total: int = 1) -> None:
        self.listener.on_profile_start(label, number, total)

    def note(self, line: str, worker: str = "") -> None:
        self.listener.note(line, worker)

    def close(self) -> None:
        self.listener.close()
