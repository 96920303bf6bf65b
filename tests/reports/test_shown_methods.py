"""Reports of hundreds of methods: short tables and figures that say what they leave out, and CSV files of all."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from harness.core.record import Record
from reports import shown_methods
from reports.compare import find_coverage
from reports.findings import build_findings
from reports.frames import build_grids
from reports.plots.scores import draw_scores
from reports.registered import SuiteContext
from reports.render import write_report
from reports.shown_methods import choose_methods, select_methods
from reports.statistics.analysis import analyse
from reports.statistics.families import Question
from reports.terminal import print_end
from tests.reports.records import cell, record

TASKS = ("cola", "rte")
MOST = 5


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_METHODS", "SELECTED"):
        monkeypatch.setattr(shown_methods, name, MOST)


def grow(count: int) -> list[Record]:
    """The score grows with the rank, so lora at the first rank, the baseline, is the worst."""
    return [
        record(50.0 + 2 * rank + (7 * seed + rank) % 3, cell(task, "lora", seed, options={"rank": rank}), TASKS)
        for rank in range(1, count + 1)
        for task in TASKS
        for seed in range(3)
    ]


def rank_of(method: str) -> int:
    return int(method.partition("rank=")[2].rstrip("]"))


def test_up_to_the_limit_all_methods_are_shown() -> None:
    (grid,) = build_grids(grow(MOST))
    assert choose_methods(grid, analyse(grid.records, [])) == grid.methods
    assert select_methods(grid, grid.methods) is grid


def test_of_more_the_best_and_the_baseline_are_shown() -> None:
    (grid,) = build_grids(grow(12))
    chosen = choose_methods(grid, analyse(grid.records, []))
    assert [rank_of(method) for method in chosen] == [1, 9, 10, 11, 12]


def test_declared_methods_are_shown_too() -> None:
    records = grow(12)
    (grid,) = build_grids(records)
    third, second = (next(m for m in grid.methods if rank_of(m) == rank) for rank in (3, 2))
    analysis = analyse(records, [], question=Question(primary=f"{third} vs {second}"))
    assert [rank_of(method) for method in choose_methods(grid, analysis)] == [2, 3, 10, 11, 12]


def test_a_part_of_a_grid_has_the_mean_over_the_tasks_of_all() -> None:
    """One method lacks rte, so the mean is over cola; without its row it still is."""
    records = [r for r in grow(7) if not (r.cell.task == "rte" and r.cell.options["rank"] == 2)]
    (grid,) = build_grids(records)
    cover = find_coverage(grid, grid.averages[0])
    part = select_methods(grid, [m for m in grid.methods if rank_of(m) != 2])
    assert cover.tasks == ("cola",) and find_coverage(part, part.averages[0]) == cover
    assert {r.cell.options["rank"] for r in part.records} == {1, 3, 4, 5, 6, 7}


def test_a_report_says_how_many_methods_it_leaves_out_and_its_csv_files_have_all(tmp_path: Path) -> None:
    records = grow(12)
    findings = build_findings(analyse(records, []))
    path = write_report(
        records, [], tmp_path, "title", "command", findings=findings, formats=("md", "csv"), images=("svg",)
    )
    text = path.read_text()
    (ranking,) = [part for part in text.split("\n### ") if part.startswith("Ranking")]
    assert sum(line.startswith("| lora:rank") for line in ranking.splitlines()) == MOST
    assert "7 of 12 methods" in ranking
    for name, rows in (("ranking", 12), ("comparisons", 11 * 3), ("stability", 24)):
        with (tmp_path / f"{name}.csv").open(newline="") as stream:
            assert len(list(csv.DictReader(stream))) == rows


def test_a_figure_has_the_rows_of_the_part_that_it_is_given() -> None:
    (grid,) = build_grids(grow(12))
    part = select_methods(grid, choose_methods(grid, analyse(grid.records, [])))
    drawing = draw_scores(SuiteContext(part))
    assert drawing is not None
    assert len(drawing.figure.axes[0].get_yticklabels()) == MOST


def test_the_terminal_is_bounded_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_end(analyse(grow(12), []), [])
    printed = capsys.readouterr().out
    assert "rank=12" in printed and "rank=4 " not in printed and "7 of 12 methods" in printed
