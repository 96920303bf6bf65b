"""What a user sees while cells run."""

from __future__ import annotations

import io

from harness.cli.progress import ProgressListener
from harness.core.listener import PlainListener, SilentListener, format_mean_loss
from tests.reports.records import record


def test_plain_says_a_line_a_pack() -> None:
    stream = io.StringIO()
    plain = PlainListener(stream, 3)
    plain.on_pack_start("rte", 2, 40)
    plain.step(10, [0.5, 0.7])
    plain.on_cell_end(record(70.0))
    plain.on_cell_end(record(None))
    plain.on_pack_end()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "rte: 2 cells, 40 steps" and lines[1] == "cola lora: failed: ValueError: on purpose"
    assert lines[2].startswith("2/3 cells done, loss 0.600, ") and lines[2].endswith("s left")


def test_silent_says_failures_and_notes_only() -> None:
    stream = io.StringIO()
    silent = SilentListener(stream)
    silent.on_pack_start("rte", 1, 40)
    silent.step(1, [0.5])
    silent.on_cell_end(record(70.0))
    silent.on_profile_start("lora")
    assert stream.getvalue() == ""
    silent.on_cell_end(record(None))
    silent.note("a note")
    assert stream.getvalue() == "cola lora: failed: ValueError: on purpose\na note\n"


def test_live_counts_cells_and_shows_notes_as_they_are() -> None:
    stream = io.StringIO()
    live = ProgressListener(stream, 2)
    live.on_pack_start("rte", 2, 40)
    live.step(10, [0.5])
    live.on_cell_end(record(70.0))
    live.note("[bold]not markup[/bold]")
    task = live.bar.tasks[0]
    live.close()
    assert (task.completed, task.total) == (1, 2) and "step 10/40, loss 0.500" in task.fields["what"]
    assert "[bold]not markup[/bold]" in stream.getvalue()


def test_mean_of_losses_leaves_out_what_is_not_finite() -> None:
    assert format_mean_loss([1.0, float("nan")]) == "1.000" and format_mean_loss([float("inf")]) == "-"
