"""What a run tells while its cells train: the interface, and the listeners that write plain lines."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Protocol, TextIO

from harness.core.record import Record
from harness.core.terminal import print_lines


class Listener(Protocol):
    """Gets what happens, as it happens."""

    def on_pack_start(self, task: str, cells: int, steps: int) -> None: ...

    def step(self, step: int, losses: Sequence[float]) -> None: ...

    def on_cell_end(self, record: Record) -> None: ...

    def on_profile_start(self, label: str) -> None: ...

    def note(self, line: str) -> None: ...

    def close(self) -> None: ...


class SilentListener:
    """For --json: notes only, on the stream that is not the answer's."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def on_pack_start(self, task: str, cells: int, steps: int) -> None:
        return

    def step(self, step: int, losses: Sequence[float]) -> None:
        return

    def on_cell_end(self, record: Record) -> None:
        if record.status not in ("ok", "cancelled"):
            self.note(f"{record.cell.task} {record.cell.title}: {record.status}: {record.reason}")

    def on_profile_start(self, label: str) -> None:
        return

    def note(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that was closed takes no lines; the run goes on
            print_lines([line], self.stream)

    def close(self) -> None:
        return


class PlainListener(SilentListener):
    """One line a finished pack and a line a profile."""

    def __init__(self, stream: TextIO, total: int) -> None:
        super().__init__(stream)
        self.total, self.done, self.open = total, 0, 0
        self.started = time.monotonic()
        self.losses: Sequence[float] = ()

    def on_pack_start(self, task: str, cells: int, steps: int) -> None:
        self.open = cells
        self.note(f"{task}: {cells} cells, {steps} steps")

    def step(self, step: int, losses: Sequence[float]) -> None:
        self.losses = losses

    def on_cell_end(self, record: Record) -> None:
        super().on_cell_end(record)
        self.done += record.status != "cancelled"
        self.open -= 1
        if self.open == 0 and record.status != "cancelled":
            self.note(
                f"{self.done}/{self.total} cells done, loss {format_mean_loss(self.losses)}, {self.time_left()} left"
            )

    def on_profile_start(self, label: str) -> None:
        self.note(f"measuring {label} alone")

    def time_left(self) -> str:
        """Time left, from the mean over the cells that are done."""
        elapsed = time.monotonic() - self.started
        return f"{elapsed / max(1, self.done) * (self.total - self.done):.0f} s"


def format_mean_loss(losses: Sequence[float]) -> str:
    finite_losses = [x for x in losses if math.isfinite(x)]
    return f"{sum(finite_losses) / len(finite_losses):.3f}" if finite_losses else "-"
