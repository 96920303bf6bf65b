"""The files of a report."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.core.record import Record
from reports.build import SYNTHETIC_NOTE
from reports.document import Findings
from reports.figures import IMAGES
from reports.render import FORMATS, write_report
from tests.reports.records import EIGHT, cell, grid_of, many, profile, record

SCORES = {("cola", "lora"): [60.0, 62.0, 61.0], ("cola", "lorasp"): [59.0, None, 61.0]}
DRAWN = ("scores", "tradeoff", "seeds", "loss", "cost")


def written(folder: Path, records: list[Record]) -> str:
    return write_report(records, [profile("lora")], folder, "glue: <lora>", "python -m harness run").read_text()


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_all_files_are_there_and_html_needs_no_other(tmp_path: Path) -> None:
    html = written(tmp_path, grid_of(SCORES))
    drawn = {f"figures/glue-{n}.{kind}" for n in DRAWN for kind in ("png", "svg")}
    assert files(tmp_path) == {"report.md", "report.html", "scores.csv", "cells.csv"} | drawn
    markup = re.sub(r"(?s)<script>.*?</script>", "", html)
    assert not re.search(r"<(link|img|iframe|object|script src)|\bsrc=|@import|url\((?!#)|https?://(?!www.w3)", markup)
    assert {*re.findall(r'data-chart="(\w+)"', markup)} == {*DRAWN} and "ValueError: on purpose" in markup
    assert "glue: &lt;lora&gt;" in html and "<lora>" not in html


def test_formats_and_figures_are_those_asked_for(tmp_path: Path) -> None:
    made = grid_of(SCORES)
    path = write_report(made, [], tmp_path / "a", "t", "c", formats=["latex", "parquet"], images=["pdf"])
    assert path.name == "report.tex" and {p.split(".")[-1] for p in files(tmp_path / "a")} == {"tex", "parquet", "pdf"}
    write_report(made, [], tmp_path / "b", "t", "c", formats=["md"], images=[])
    assert files(tmp_path / "b") == {"report.md"} and "](figures" not in (tmp_path / "b" / "report.md").read_text()
    with pytest.raises(UserError, match="unknown format 'pfd': allowed: csv, html, latex, md, parquet"):
        write_report(made, [], tmp_path, "t", "c", formats=["pfd"])
    with pytest.raises(UserError, match="did you mean 'png'"):
        write_report(made, [], tmp_path, "t", "c", images=["pmg"])


def test_markdown_links_the_figures_that_exist(tmp_path: Path) -> None:
    written(tmp_path, grid_of(SCORES))
    links = re.findall(r"\]\((.+?)\)", (tmp_path / "report.md").read_text())
    assert len(links) == len(DRAWN) and all((tmp_path / link).is_file() for link in links)


def test_findings_come_first_in_each_format(tmp_path: Path) -> None:
    rows = [{"method": "lorasp", "p": 0.031257, "n": 5, "gap": float("nan")}]
    findings = Findings(["lorasp is below lora."], [("Tests", rows, ["Wilcoxon."])])
    write_report(grid_of(SCORES), [], tmp_path, "t", "c", findings=findings, formats=["md", "html", "latex"])
    assert "lorasp is below lora." in (tmp_path / "report.html").read_text()
    for name in ("report.md", "report.tex"):
        text = (tmp_path / name).read_text()
        # report.tex reads its tables from files of their own
        for file in re.findall(r"\\input\{(.*?)\}", text):
            text = text.replace(rf"\input{{{file}}}", (tmp_path / f"{file}.tex").read_text())
        places = [
            text.index(word) for word in ("lorasp is below lora.", "Tests", "0.03126", "Wilcoxon.", "Scores, average")
        ]
        assert places == sorted(places), name
    assert "| lorasp | 0.03126 | 5 | - |" in (tmp_path / "report.md").read_text()


def test_generated_stand_ins_are_named_in_the_title(tmp_path: Path) -> None:
    assert SYNTHETIC_NOTE not in written(tmp_path / "a", [record(60.0)])
    html = written(tmp_path / "b", [record(60.0), record(61.0, cell(seed=1), stand_in=True)])
    assert html.count(SYNTHETIC_NOTE) >= 2 and f"<title>glue: &lt;lora&gt; ({SYNTHETIC_NOTE})</title>" in html


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    # the bytes of other images: test_figures.py
    for name, images in (("a", IMAGES), ("b", ("svg",))):
        write_report(grid_of(SCORES), [profile()], tmp_path / name, "t", "c", formats=FORMATS, images=images)
    tables = {name for name in files(tmp_path / "a") if name.startswith("tables/")}
    columns = {f"figures/glue-{n}-column.{kind}" for n in DRAWN for kind in ("pdf", "png")}
    assert len(tables) >= 3 and columns <= files(tmp_path / "a")
    assert len(files(tmp_path / "a") - tables - columns) == 8 + 3 * len(DRAWN)
    assert files(tmp_path / "b") == {n for n in files(tmp_path / "a") if not n.endswith((".png", ".pdf"))}
    for name in files(tmp_path / "b") - {"report.md", "report.tex"}:  # these link the images that there are
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_report_of_failures_only_draws_no_scores(tmp_path: Path) -> None:
    html = written(tmp_path, [record(None, loss_curve=[])])
    assert html.count("data-chart=") == 1 and [p.stem for p in (tmp_path / "figures").glob("*.svg")] == ["glue-cost"]
    assert "1 failed" in html


def test_nothing_to_report_and_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no records"):
        write_report([], [], tmp_path / "report", "t", "c")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the report"):
        write_report([record(1.0)], [], tmp_path / "file" / "report", "t", "c")


@pytest.mark.slow
def test_two_thousand_cells_in_all_formats_take_under_twenty_seconds(tmp_path: Path) -> None:
    records = many(tasks=EIGHT)
    started = time.process_time()
    write_report(records, [], tmp_path, "many", "command", formats=FORMATS, images=IMAGES)
    assert len(records) == 2000 and time.process_time() - started < 20
