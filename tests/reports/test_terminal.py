"""What a run prints at its end."""

from __future__ import annotations

import re

import pytest

from harness.core.record import Record
from reports.first_screen import build_ranking_table
from reports.statistics.analysis import analyse
from reports.terminal import COST_COLUMNS, print_end
from tests.harness.core.test_terminal import SEQUENCE, run_on_terminal
from tests.reports.records import grid_of, profile

SCORES = {("cola", "lora"): [60.0, 62.0, 64.0], ("cola", "lorasp"): [59.0, 62.0, 61.0]}
CLEAR = {("cola", "lora"): [60.0, 60.1, 60.2], ("cola", "lorasp"): [70.0, 70.2, 70.1]}


def end(records: list[Record], columns: int) -> str:
    profiles = [profile("lora"), profile("lorasp")]
    return run_on_terminal(lambda: print_end(analyse(records, profiles), profiles), columns)


def test_a_pipe_and_a_terminal_have_the_answer_the_ranking_and_the_cost(capsys: pytest.CaptureFixture[str]) -> None:
    records, profiles = grid_of(SCORES), [profile("lora"), profile("lorasp")]
    analysis = analyse(records, profiles)
    print_end(analysis, profiles)
    piped = capsys.readouterr().out
    assert piped.startswith(analysis.rankings[0].answer) and not SEQUENCE.search(piped)
    for text in (piped, end(records, 200)):
        assert "62.0 ± 5.0" in text and "3.00 MiB" in text and "mean of 1 task" in text


def test_the_ranking_has_the_cells_of_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    analysis = analyse(grid_of(SCORES), [])
    table = build_ranking_table(analysis.rankings[0], analysis.grids[0])
    print_end(analysis, [])
    lines = capsys.readouterr().out.split("Ranking\n")[1].splitlines()
    for row in table.rows:
        line = next(line for line in lines if re.match(rf"{row[0]} ", line))
        assert all(cell in line for name, cell in zip(table.head, row, strict=True) if name not in COST_COLUMNS)


def test_every_line_of_a_narrow_terminal_is_whole() -> None:
    scores = {
        (task, f"lorasp:ratio=0.{i},rank=16"): [60.0 + i, 61.0 + i, 63.0]
        for task in ("cola", "rte", "mrpc", "stsb", "qnli", "qqp")
        for i in range(1, 5)
    }
    text = end(grid_of(scores), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(text.count(f"lorasp:ratio=0.{i},rank=16") >= 2 for i in range(1, 5))
    assert "Left out at this width" in text


@pytest.mark.parametrize(("no_colour", "expected"), [("", True), ("1", False)])
def test_the_verdict_is_in_colour_unless_that_is_off(
    no_colour: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setattr("tests.harness.core.test_terminal.SEQUENCE", re.compile("(?!)"))
    text = end(grid_of(CLEAR), 100)
    green = "\x1b[1;32mlorasp is better"
    assert (green in text) is expected and "lorasp is better" in text
