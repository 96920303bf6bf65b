"""Verdicts and checks, as they stand at the top of a report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from reports.findings import MOST, findings
from reports.render import write_report
from reports.statistics.analysis import analyse
from tests.reports.records import cell, record

TASKS = ("cola", "rte")
RUNS = [
    record(score + seed / 10 + gap * (1 + seed / 100), cell(task=task, method=method, seed=seed))
    for task, score in zip(TASKS, (60.0, 80.0), strict=True)
    for method, gap in (("lora", 0.0), ("lorasp", -5.0), ("head", -9.0))
    for seed in range(4)
    if not (method == "head" and seed == 3)
]


def test_means_over_tasks_are_told_and_every_comparison_is_in_the_table() -> None:
    found = findings(analyse(RUNS, [], margin=1.0))
    assert found.sentences and all("average of 2 tasks" in s for s in found.sentences)
    title, rows, notes = found.tables[0]
    frame = pd.DataFrame(rows)
    assert title.startswith("Comparisons") and set(frame["on"]) == {*TASKS, "average of 2 tasks"}
    assert any("margin is 1 points" in n for n in notes)
    lorasp = frame[(frame["method"] == "lorasp") & (frame["on"] == "rte")].iloc[0]
    assert lorasp["difference"] == "-5.1"


def test_more_verdicts_than_fit_are_counted() -> None:
    many = [
        record(50.0 + rank + seed / 10 + 3 * (seed * rank % 3), cell(options={"rank": rank}, seed=seed))
        for rank in range(1, 13)
        for seed in range(3)
    ]
    found = findings(analyse(many, []))
    assert len(found.sentences) == MOST + 1 and "3 more verdicts" in found.sentences[-1]


def test_they_stand_in_the_report(tmp_path: Path) -> None:
    analysis = analyse(RUNS, [])
    write_report(RUNS, [], tmp_path, "t", "c", findings=findings(analysis), formats=("md", "html"))
    text = (tmp_path / "report.md").read_text()
    assert "Signs of failure" in text and "no margin was named" in text
    assert text.index("Comparisons, paired by seed") < text.index("Signs of failure")
