"""Progress of a run: the interface of a listener, and the listeners that write plain lines."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Protocol, TextIO

from harness.core.progress import PlannedPack, RunProgress, format_time_left
from harness.core.record import Record
from harness.core.terminal import print_lines
from harness.core.text import count_noun


class Listener(Protocol):
    """Receives the events of a run, in this order.

    `worker` names the process that trains a pack, such as 'cuda:1', if there are several; each trains one at a time.
    """

    def on_plan(self, packs: Sequence[PlannedPack]) -> None:
        """All packs that will train, if none has to be split."""

    def on_pack_start(self, task: str, cells: int, steps: int, keys: Sequence[str] = (), worker: str = "") -> None:
        """A pack of so many cells, with these keys, starts; it will take `steps` optimizer steps."""

    def step(self, step: int, losses: Sequence[float], worker: str = "") -> None:
        """Optimizer step number `step` is done; `losses` [K] has the training loss of each cell of the pack."""

    def on_cell_end(self, record: Record) -> None:
        """A cell has its record, failed or not."""

    def on_pack_end(self, worker: str = "") -> None:
        """The pack that this worker trained has all of its records, or its cells train again in other packs."""

    def on_profile_start(self, label: str, number: int = 1, total: int = 1) -> None:
        """The profile of a method starts, number `number` of `total`."""

    def note(self, line: str, worker: str = "") -> None:
        """A line for the user, at any time."""

    def close(self) -> None:
        """The run is over; nothing follows."""


class SilentListener:
    """For --json: notes and failed cells only, on `stream` (stderr, for the answer is on stdout)."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def on_plan(self, packs: Sequence[PlannedPack]) -> None:
        return

    def on_pack_start(self, task: str, cells: int, steps: int, keys: Sequence[str] = (), worker: str = "") -> None:
        return

    def step(self, step: int, losses: Sequence[float], worker: str = "") -> None:
        return

    def on_cell_end(self, record: Record) -> None:
        if record.status not in ("ok", "cancelled"):
            self.note(f"{record.cell.task} {record.cell.title}: {record.status}: {record.reason}")

    def on_pack_end(self, worker: str = "") -> None:
        return

    def on_profile_start(self, label: str, number: int = 1, total: int = 1) -> None:
        return

    def note(self, line: str, worker: str = "") -> None:
        # the run continues when the terminal is closed
        with contextlib.suppress(OSError):
            print_lines([line], self.stream)

    def close(self) -> None:
        return


class PlainListener(SilentListener):
    """For a pipe or a log file: one line per started pack, finished pack and profile; `total` cells in all."""

    def __init__(self, stream: TextIO, total: int) -> None:
        super().__init__(stream)
        self.progress = RunProgress(total)

    def on_plan(self, packs: Sequence[PlannedPack]) -> None:
        self.progress.plan(packs)

    def on_pack_start(self, task: str, cells: int, steps: int, keys: Sequence[str] = (), worker: str = "") -> None:
        self.progress.start_pack(task, cells, steps, keys, worker)
        where = f" on {worker}" if worker else ""
        self.note(f"{task}: {count_noun(cells, 'cell')}, {count_noun(steps, 'step')}{where}")

    def step(self, step: int, losses: Sequence[float], worker: str = "") -> None:
        self.progress.finish_step(step, losses, worker)

    def on_cell_end(self, record: Record) -> None:
        super().on_cell_end(record)
        self.progress.finish_cell(record.key, counts=record.status != "cancelled")

    def on_pack_end(self, worker: str = "") -> None:
        # the cells of a pack end together: one line for all of them
        losses = self.progress.workers[worker].losses if worker in self.progress.workers else ()
        self.progress.finish_pack(worker)
        parts = [f"{self.progress.done}/{self.progress.total} cells done, loss {format_mean_loss(losses)}"]
        if self.progress.done < self.progress.total:
            parts.append(self._time_left())
        self.note(", ".join(filter(None, parts)))

    def on_profile_start(self, label: str, number: int = 1, total: int = 1) -> None:
        self.progress.start_profile(label, number, total)
        self.note(", ".join(filter(None, [*self.progress.describe().values(), self._time_left()])))

    def _time_left(self) -> str:
        return format_time_left(self.progress.seconds_left)


def format_mean_loss(losses: Sequence[float]) -> str:
    """The mean of the finite losses with three decimals; '-' if there is none."""
    # one diverged cell must not hide the losses of the others
    finite_losses = [x for x in losses if math.isfinite(x)]
    return f"{sum(finite_losses) / len(finite_losses):.3f}" if finite_losses else "-"
