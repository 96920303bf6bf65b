"""The live display of a command on a terminal, drawn by rich.

    ━━━━━━━━━━━━╺━━━━━━━━━━━━━━  34 %  12/36 cells  1:02  about 2 min left
    training cola, 8 cells, step 40/150, loss 0.512

It is drawn again several times a second from a RunProgress, so the clock runs while nothing happens.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from harness.core.listener import PlainListener, SilentListener, format_mean_loss
from harness.core.progress import format_time_left
from harness.core.record import Record
from harness.core.terminal import make_text

if TYPE_CHECKING:
    from rich.console import RenderableType

BAR_WIDTH = 24
REFRESHES = 4
"""Per second."""


class Display:
    """Lines at the bottom of a terminal that are drawn again until `close`; notes appear above them."""

    def __init__(self, stream: TextIO, draw: Callable[[], RenderableType]) -> None:
        # rich takes a while to import, and only a terminal needs it
        from rich.console import Console
        from rich.live import Live

        self.live = Live(
            console=Console(file=stream), get_renderable=draw, refresh_per_second=REFRESHES, transient=True
        )
        self.live.start()

    def note(self, line: str) -> None:
        """Print a line above the display."""
        # the run continues when the terminal is closed
        with contextlib.suppress(OSError):
            self.live.console.print(make_text(line))

    def close(self) -> None:
        """Remove the display."""
        with contextlib.suppress(OSError):
            self.live.stop()


class ProgressListener(PlainListener):
    """A bar over the work of the run, and one line for each worker that says what it does."""

    def __init__(self, stream: TextIO, total: int) -> None:
        super().__init__(stream, total)
        self.display = Display(stream, self.draw)

    def draw(self) -> RenderableType:
        """The bar with cells done, time and time left, then one line per worker."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=1.0, completed=self.progress.share, width=BAR_WIDTH)
        grid.add_row(bar, *map(make_text, self._list_figures()))
        lines = []
        for worker, what in self.progress.describe().items():
            one = self.progress.workers.get(worker)
            losses = one.losses if one is not None else ()
            loss = f", loss {format_mean_loss(losses)}" if losses else ""
            lines.append(make_text(f"{worker + ': ' if worker else ''}{what}{loss}"))
        return Group(grid, *lines)

    def _list_figures(self) -> list[str]:
        progress = self.progress
        number, total = progress.profiles
        counts = f"{number - 1}/{total} profiles" if progress.profile else f"{progress.done}/{progress.total} cells"
        left = format_time_left(progress.seconds_left)
        return [f"{progress.share:.0%}", counts, format_clock(progress.elapsed), left]

    def on_pack_start(self, task: str, cells: int, steps: int, keys: Sequence[str] = (), worker: str = "") -> None:
        # not PlainListener's, which would print a line per pack beside the bar
        self.progress.start_pack(task, cells, steps, keys, worker)

    def on_cell_end(self, record: Record) -> None:
        SilentListener.on_cell_end(self, record)
        self.progress.finish_cell(record.key, counts=record.status != "cancelled")

    def on_pack_end(self, worker: str = "") -> None:
        self.progress.finish_pack(worker)

    def on_profile_start(self, label: str, number: int = 1, total: int = 1) -> None:
        self.progress.start_profile(label, number, total)

    def note(self, line: str, worker: str = "") -> None:
        self.display.note(line)

    def close(self) -> None:
        self.display.close()


def format_clock(seconds: float) -> str:
    """'1:02', '2:03:04'."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class PhaseDisplay:
    """Says on a terminal what a command does before and after its cells train, with a running clock."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.display: Display | None = None

    def show(self, what: str) -> None:
        """Show `what` until the next call, or until `close`."""
        self.close()
        if self.stream.isatty():
            start = time.monotonic()
            self.display = Display(self.stream, lambda: make_text(f"{what}  {format_clock(time.monotonic() - start)}"))

    def close(self) -> None:
        """Remove the line."""
        if self.display is not None:
            self.display.close()
            self.display = None
