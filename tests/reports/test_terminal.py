"""The tables at the end of a run."""

from __future__ import annotations

import pytest

from reports.terminal import print_tables
from tests.harness.core.test_terminal import run_on_terminal
from tests.reports.records import grid_of, profile

SCORES = {("cola", "lora"): [60.0, 62.0, 64.0], ("cola", "lorasp"): [59.0, 62.0, 61.0]}


def test_a_pipe_and_a_terminal_have_scores_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    records, profiles = grid_of(SCORES), [profile("lora"), profile("lorasp")]
    print_tables(records, profiles)
    for text in (capsys.readouterr().out, run_on_terminal(lambda: print_tables(records, profiles), 200)):
        assert "62.0 ± 5.0" in text and "3.00 MiB" in text and "mean of 1 task" in text


def test_columns_for_a_pipe_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables(grid_of(SCORES), [])
    lines = capsys.readouterr().out.splitlines()
    column = lines[1].index("constant")
    assert lines[2][column : column + 4] == "50.0"
