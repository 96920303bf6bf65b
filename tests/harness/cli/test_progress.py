"""What a user sees while cells run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.cli.progress import ProgressListener
from harness.core.listener import PlainListener, SilentListener, format_mean_loss
from harness.core.progress import PlannedPack
from tests.reports.records import record


def test_plain_says_a_line_a_pack() -> None:
    stream = io.StringIO()
    plain = PlainListener(stream, 3)
    plain.on_pack_start("rte", 2, 40)
    plain.step(10, [0.5, 0.7])
    plain.on_cell_end(record(70.0))
    plain.on_cell_end(record(None))
    plain.on_pack_end()
    plain.on_profile_start("lora", 2, 5)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "rte: 2 cells, 40 steps" and lines[1] == "cola lora: failed: ValueError: on purpose"
    assert lines[2].startswith("2/3 cells done, loss 0.600") and "left" not in lines[2]  # one step has no pace
    assert lines[3].startswith("profiling lora in isolation, 2/5")


def test_plain_says_the_time_left_once_there_is_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream, first = io.StringIO(), record(70.0)
    plain = PlainListener(stream, 2)
    plain.progress.clock = lambda: now[0]
    plain.on_plan([PlannedPack((first.key,), 60, 1.0, 0.0), PlannedPack(("later",), 120, 1.0, 0.0)])
    plain.on_pack_start("cola", 1, 60, (first.key,))
    for step in range(1, 61):
        now[0] += 1.0
        plain.step(step, [0.5])
    plain.on_cell_end(first)
    plain.on_pack_end()
    assert stream.getvalue().splitlines()[-1] == "1/2 cells done, loss 0.500, about 2 min left"


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


def draw(live: ProgressListener, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(live.draw())
    return stream.getvalue()


def test_live_counts_cells_and_shows_notes_as_they_are() -> None:
    stream, first = io.StringIO(), record(70.0)
    live = ProgressListener(stream, 2)
    live.on_plan([PlannedPack((first.key, "b"), 40, 1.0, 0.0)])
    assert "loading" in draw(live)
    live.on_pack_start("rte", 2, 40, (first.key, "b"))
    live.step(10, [0.5])
    assert "0/2 cells" in draw(live) and "25%" in draw(live)
    assert "training rte, 2 cells, step 10/40, loss 0.500" in draw(live)
    live.step(40, [0.4])
    assert "scoring rte, 2 cells" in draw(live)
    live.on_cell_end(first)
    live.note("[bold]not markup[/bold]")
    assert "1/2 cells" in draw(live)
    live.on_pack_end()
    live.on_profile_start("lora", 2, 5)
    assert "1/5 profiles" in draw(live) and "profiling lora in isolation, 2/5" in draw(live)
    live.close()
    assert "[bold]not markup[/bold]" in stream.getvalue()


def test_live_has_a_line_for_each_worker_and_cuts_no_name() -> None:
    live = ProgressListener(io.StringIO(), 4)
    task = "a-task-with-a-name-that-is-longer-than-a-line-of-eighty-columns-can-show-at-once"
    live.on_pack_start("rte", 2, 40, worker="cuda:0")
    live.on_pack_start(task, 2, 40, worker="cuda:1")
    live.step(10, [0.5], worker="cuda:0")
    lines = draw(live).splitlines()
    assert "cuda:0: training rte, 2 cells, step 10/40, loss 0.500" in lines
    assert task in "".join(lines) and all(len(line) <= 80 for line in lines)
    live.close()


def test_mean_of_losses_leaves_out_what_is_not_finite() -> None:
    assert format_mean_loss([1.0, float("nan")]) == "1.000" and format_mean_loss([float("inf")]) == "-"
