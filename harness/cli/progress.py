"""A live progress bar for a terminal, drawn by rich."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TextIO

from harness.core.listener import PlainListener, SilentListener, format_mean_loss
from harness.core.record import Record
from harness.core.terminal import escape_text, make_text


class ProgressListener(PlainListener):
    """A progress bar: cells done of `total`, current task, step, mean loss and time left."""

    def __init__(self, stream: TextIO, total: int) -> None:
        super().__init__(stream, total)
        # rich takes a while to import, and only a terminal needs it
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        # markup=False: names of tasks and methods may hold square brackets
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

    def on_pack_start(self, task: str, cells: int, steps: int, worker: str = "") -> None:
        self.task, self.steps = task, steps
        self._show(f"{task}: {cells} cells")

    def step(self, step: int, losses: Sequence[float], worker: str = "") -> None:
        self._show(f"{self.task}: step {step}/{self.steps}, loss {format_mean_loss(losses)}, {self.time_left()} left")

    def on_cell_end(self, record: Record) -> None:
        # not PlainListener's, which would print a line per pack beside the bar
        SilentListener.on_cell_end(self, record)
        self.done += record.status != "cancelled"
        self.bar.update(self.line, completed=self.done)

    def on_pack_end(self, worker: str = "") -> None:
        return

    def on_profile_start(self, label: str) -> None:
        self._show(f"profiling {label} in isolation")

    def _show(self, what: str) -> None:
        self.bar.update(self.line, what=escape_text(what))

    def note(self, line: str, worker: str = "") -> None:
        # the run continues when the terminal is closed
        with contextlib.suppress(OSError):
            self.bar.console.print(make_text(line))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.bar.stop()
