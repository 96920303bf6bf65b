"""What a user sees while cells run: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Protocol, TextIO

from harness.record import Record
from harness.terminal import make_text, print_lines, printable


class Listener(Protocol):
    """Gets what happens, as it happens."""

    def pack_started(self, task: str, cells: int, steps: int) -> None: ...

    def step(self, step: int, losses: Sequence[float]) -> None: ...

    def cell_finished(self, record: Record) -> None: ...

    def profiling(self, label: str) -> None: ...

    def note(self, line: str) -> None: ...

    def close(self) -> None: ...


class Silent:
    """For --json: notes only, on the stream that is not the answer's."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def pack_started(self, task: str, cells: int, steps: int) -> None:
        return

    def step(self, step: int, losses: Sequence[float]) -> None:
        return

    def cell_finished(self, record: Record) -> None:
        if record.status not in ("ok", "cancelled"):
            self.note(f"{record.cell.task} {record.cell.title}: {record.status}: {record.reason}")

    def profiling(self, label: str) -> None:
        return

    def note(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that was closed takes no lines; the run goes on
            print_lines([line], self.stream)

    def close(self) -> None:
        return


class Plain(Silent):
    """One line a finished pack and a line a profile."""

    def __init__(self, stream: TextIO, total: int) -> None:
        super().__init__(stream)
        self.total, self.done, self.open = total, 0, 0
        self.started = time.monotonic()
        self.losses: Sequence[float] = ()

    def pack_started(self, task: str, cells: int, steps: int) -> None:
        self.open = cells
        self.note(f"{task}: {cells} cells, {steps} steps")

    def step(self, step: int, losses: Sequence[float]) -> None:
        self.losses = losses

    def cell_finished(self, record: Record) -> None:
        super().cell_finished(record)
        self.done += record.status != "cancelled"
        self.open -= 1
        if self.open == 0 and record.status != "cancelled":
            self.note(f"{self.done}/{self.total} cells done, loss {mean(self.losses)}, {self.left()} left")

    def profiling(self, label: str) -> None:
        self.note(f"measuring {label} alone")

    def left(self) -> str:
        """Time left, from the mean over the cells that are done."""
        spent = time.monotonic() - self.started
        return f"{spent / max(1, self.done) * (self.total - self.done):.0f} s"


class Live(Plain):
    """A rich progress bar: cells done, the present task, step and loss, time left."""

    def __init__(self, stream: TextIO, total: int) -> None:
        super().__init__(stream, total)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[what]}", markup=False),
            console=Console(file=stream),
            transient=True,
        )
        self.line = self.bar.add_task("cells", total=total, what="loading")
        self.task, self.steps = "", 0
        self.bar.start()

    def pack_started(self, task: str, cells: int, steps: int) -> None:
        self.task, self.steps = task, steps
        self._show(f"{task}: {cells} cells")

    def step(self, step: int, losses: Sequence[float]) -> None:
        self._show(f"{self.task}: step {step}/{self.steps}, loss {mean(losses)}, {self.left()} left")

    def cell_finished(self, record: Record) -> None:
        Silent.cell_finished(self, record)
        self.done += record.status != "cancelled"
        self.bar.update(self.line, completed=self.done)

    def profiling(self, label: str) -> None:
        self._show(f"measuring {label} alone")

    def _show(self, what: str) -> None:
        self.bar.update(self.line, what=printable(what))

    def note(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self.bar.console.print(make_text(line))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.bar.stop()


def mean(losses: Sequence[float]) -> str:
    finite = [x for x in losses if math.isfinite(x)]
    return f"{sum(finite) / len(finite):.3f}" if finite else "-"
