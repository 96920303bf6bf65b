"""The table at the end of a run."""

from __future__ import annotations

import io

from rich.console import Console

from reports.terminal import plain, table
from tests.reports.records import grid_of, profile

SCORES = {("cola", "lora"): [60.0, 62.0, 64.0], ("cola", "lorasp"): [59.0, 62.0, 61.0]}


def test_both_forms_hold_scores_and_cost() -> None:
    records, profiles = grid_of(SCORES), [profile("lora"), profile("lorasp")]
    stream = io.StringIO()
    Console(file=stream, width=200).print(table(records, profiles))
    for text in (stream.getvalue(), plain(records, profiles)):
        assert "62.0 ± 5.0" in text and "3.00 MiB" in text and "mean of 1 named task" in text


def test_plain_columns_line_up() -> None:
    lines = plain(grid_of(SCORES), []).splitlines()
    column = lines[1].index("constant")
    assert lines[2][column : column + 4] == "50.0"
