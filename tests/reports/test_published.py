"""Published figures beside ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.document import Table
from reports.frames import build_grids
from reports.render import write_report
from reports.tables.published import build_published_table
from results.published import read_published
from tests.reports.records import EIGHT, cell, grid_of, record

ROWS = read_published()


def table(tasks: tuple[str, ...], metric: str = "accuracy") -> Table | None:
    records = grid_of({(task, m): [60.0, 62.0] for task in tasks for m in ("lora", "lorasp")}, EIGHT)
    renamed = [r.model_copy(update={"scores": {metric: r.scores["accuracy"]}}) for r in records]
    (grid,) = build_grids(renamed)
    return build_published_table(grid, ROWS)


def test_ours_come_first_then_each_published_row_and_no_order_is_offered() -> None:
    found = table(("rte", "sst2"))
    assert found is not None and not found.sortable
    assert found.head == ("from", "model", "method", "trained", "rte accuracy", "sst2 accuracy")
    assert found.rows[0] == ("this run", "model", "lora", "1,024", "61.0 ± 12.7", "61.0 ± 12.7")
    assert ("Hu et al. 2021, arXiv 2106.09685, Table 2", "roberta-base", "full", "125.0M", "78.7", "94.8") in found.rows
    assert [row[0] for row in found.rows[:3]].count("this run") == 2
    assert any("Unlike here" in note and note.startswith("Hu et al. 2021") for note in found.notes)
    assert not any("QLoRA" in text for text in (*found.notes, *(row[0] for row in found.rows)))


def test_an_average_stands_there_only_where_ours_is_over_all_eight_tasks() -> None:
    part, whole = table(EIGHT[:7]), table(EIGHT)
    assert part is not None and whole is not None
    assert not any("average" in head for head in part.head)
    assert any("averages are left out" in note for note in part.notes)
    assert whole.head[-1] == "average glue" and {"84.5", "86.4"} <= {row[-1] for row in whole.rows}
    assert not any(row[0].startswith("Wu et al.") for row in part.rows)  # it states nothing but an average


def test_eight_of_nine_declared_tasks_are_not_the_average_of_eight() -> None:
    (grid,) = build_grids(grid_of({(task, "lora"): [60.0, 62.0] for task in EIGHT}, (*EIGHT, "wnli")))
    found = build_published_table(grid, ROWS)
    assert found is not None and not any("average" in head for head in found.head)


def test_a_metric_that_the_source_does_not_state_is_not_set_beside_ours() -> None:
    found = table(("mrpc",), "f1")
    assert found is not None and found.head[-1] == "mrpc f1"
    assert {row[0].split(",")[0] for row in found.rows[2:]} == {"Zhao et al. 2024 (GaLore)"}
    assert table(("mrpc",), "spearman") is None


def test_a_tuned_run_is_not_said_to_have_declared_rates() -> None:
    made = [record(60.0, cell("rte", protocol={"name": name}), EIGHT) for name in ("default", "tuned")]
    notes = [" ".join(t.notes) for (g,) in [build_grids([r]) for r in made] if (t := build_published_table(g, ROWS))]
    assert "protocol is tuned" not in notes[0] and "protocol is tuned (see its table)" in notes[1]


def test_stand_ins_say_that_nothing_is_shared() -> None:
    (grid,) = build_grids([record(60.0, cell("rte"), stand_in=True)])
    found = build_published_table(grid, ROWS)
    assert found is not None and any("stand-ins" in note for note in found.notes)


def test_only_a_report_that_is_asked_for_them_has_them(tmp_path: Path) -> None:
    made = grid_of({("rte", "lora"): [60.0, 61.0]})
    without = write_report(made, [], tmp_path / "a", "t", "c").read_text()
    asked = write_report(made, [], tmp_path / "b", "t", "c", published=ROWS).read_text()
    assert "Hu et al." not in without and "Hu et al." in asked and "<table data-fixed>" in asked


def test_the_file_holds_figures_with_their_sources() -> None:
    assert len(ROWS) == 95 and all(all(row[k] for k in row if k != "trainable_parameters") for row in ROWS)
    assert all(0 < float(row["value"]) < 100 for row in ROWS)
    for source in {row["source"] for row in ROWS}:  # a mean of eight is that of the eight, to rounding
        groups: dict[str, dict[str, float]] = {}
        for row in (r for r in ROWS if r["source"] == source):
            place = f"{row['method']} {row['trainable_parameters']}"
            groups.setdefault(place, {})[row["task"]] = float(row["value"])
        for name, values in groups.items():
            if len(values) == 9:
                mean = sum(v for task, v in values.items() if task != "average") / 8
                assert values["average"] == pytest.approx(mean, abs=0.11), (source, name)
