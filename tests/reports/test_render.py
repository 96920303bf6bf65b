"""The files of a report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.record import Record
from reports.render import STAND_IN, write_report
from tests.reports.records import cell, grid_of, profile, record

SCORES = {("cola", "lora"): [60.0, 62.0], ("cola", "lorasp"): [59.0, None]}


def written(folder: Path, records: list[Record]) -> str:
    return write_report(records, [profile("lora")], folder, "glue: <lora>", "python -m harness run").read_text()


def test_all_files_are_there_and_html_needs_no_other(tmp_path: Path) -> None:
    html = written(tmp_path, grid_of(SCORES))
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    drawn = {f"figures/glue-{n}.{kind}" for n in ("scores", "differences", "loss", "cost") for kind in ("png", "svg")}
    assert names == {"report.md", "report.html", "scores.csv", "cells.csv"} | drawn
    assert not re.search(r"<(script|link|img|iframe)|src=|@import|url\((?!#)", html)
    assert html.count("<svg") == 4 and "ValueError: on purpose" in html
    assert "glue: &lt;lora&gt;" in html and "<lora>" not in html


def test_markdown_links_the_figures_that_exist(tmp_path: Path) -> None:
    written(tmp_path, grid_of(SCORES))
    links = re.findall(r"\]\((.+?)\)", (tmp_path / "report.md").read_text())
    assert len(links) == 4 and all((tmp_path / link).is_file() for link in links)


def test_generated_stand_ins_are_named_in_the_title(tmp_path: Path) -> None:
    assert STAND_IN not in written(tmp_path / "a", [record(60.0)])
    html = written(tmp_path / "b", [record(60.0), record(61.0, cell(seed=1), stand_in=True)])
    assert html.count(STAND_IN) == 2


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        written(tmp_path / name, grid_of(SCORES))
    for path in (tmp_path / "a").rglob("*.*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path


def test_a_report_of_failures_only_draws_no_scores(tmp_path: Path) -> None:
    html = written(tmp_path, [record(None, loss_curve=[])])
    assert html.count("<svg") == 1 and [p.stem for p in (tmp_path / "figures").glob("*.svg")] == ["glue-cost"]
    assert "1 failed" in html


def test_nothing_to_report_and_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no records"):
        write_report([], [], tmp_path / "report", "t", "c")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the report"):
        write_report([record(1.0)], [], tmp_path / "file" / "report", "t", "c")
