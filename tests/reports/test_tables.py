"""Tables and CSV files."""

from __future__ import annotations

import re

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from harness.core.cell import ModelRef
from reports.document import LinkedText
from reports.flat import build_cell_rows, build_score_rows, to_csv
from reports.frames import build_grids
from reports.tables import (
    build_cost_table,
    build_difference_table,
    build_failure_table,
    build_metric_table,
    build_protocol_table,
    build_score_table,
    format_estimate,
)
from tests.reports.records import cell, grid_of, profile, record

SCORES = {("cola", "lora"): [60.0, 62.0, 64.0], ("cola", "lorasp"): [59.0, 62.5, None], ("rte", "lora"): [70.0]}


def test_score_table_shows_interval_count_and_constant() -> None:
    (grid,) = build_grids(grid_of(SCORES))
    table = build_score_table(grid, "glue")
    assert table.head == ("task", "score", "constant", "lora", "lorasp")
    assert table.rows[0] == ("cola", "accuracy", "50.0", "62.0 ± 5.0", "60.8 ± 22.2 (n=2 of 3)")
    assert table.rows[1][4] == "-" and table.rows[2][0] == "mean of 1 named task"
    assert any("Not the average that papers publish" in note for note in table.notes)


def test_a_full_average_carries_no_warning_and_partial_data_is_marked() -> None:
    scores = {("cola", "lora"): [60.0], ("rte", "lora"): [70.0]}
    (grid,) = build_grids(grid_of(scores))
    table = build_score_table(grid, "glue")
    assert table.rows[-1][0] == "average of 2 tasks" and not any("Not the average" in n for n in table.notes)
    (grid,) = build_grids([r.model_copy(update={"data_notes": ["half of the rows"]}) for r in grid_of(scores)])
    table = build_score_table(grid, "glue")
    assert table.rows[0][0] == "cola†" and "† cola: half of the rows" in table.notes


def test_one_seed_gives_a_value_and_says_why_there_is_no_interval() -> None:
    (grid,) = build_grids(grid_of({("cola", "lora"): [60.0], ("cola", "lorasp"): [61.0]}))
    table = build_score_table(grid, "glue")
    assert table.rows[0][3:] == ("60.0", "61.0") and any("no spread to make an interval of" in n for n in table.notes)
    differences = build_difference_table(grid, "glue")
    assert differences is not None and differences.rows[0][2:] == ("+1.0", "1", "one paired seed: no interval")
    (grid,) = build_grids(grid_of({("cola", "lora"): [60.0, 61.0]}))
    assert not any("no spread" in n for n in build_score_table(grid, "glue").notes)


def test_difference_table_reads_each_row() -> None:
    (grid,) = build_grids(grid_of(SCORES))
    table = build_difference_table(grid, "glue")
    assert table is not None
    assert table.rows[0] == ("lorasp", "cola", "-0.2 ± 9.5", "2", table.rows[0][4])
    told = re.fullmatch(
        r"not distinguishable from 0; minimum detectable difference \(80 % power\) ([\d.]+) points \(95 % interval .*\)"
        r"; seeds needed for 0.25 points: (\d+) \(.*",
        table.rows[0][4],
    )
    assert told is not None
    spread, power = np.std(np.array([59.0 - 60.0, 62.5 - 62.0]), ddof=1), TTestPower()
    assert float(told[1]) == pytest.approx(power.solve_power(nobs=2, alpha=0.05, power=0.8) * spread, abs=0.05)
    needed = power.solve_power(effect_size=0.25 / spread, alpha=0.05, power=0.8)
    assert int(told[2]) == np.ceil(needed)
    assert table.rows[1] == ("lorasp", "rte", "-", "0", "no paired seeds")
    assert build_difference_table(build_grids(grid_of({("cola", "lora"): [1.0]}))[0], "glue") is None


def test_cost_comes_from_profiles_of_the_same_shape_only() -> None:
    (grid,) = build_grids(grid_of({("cola", "lora"): [60.0], ("cola", "lorasp"): [61.0]}))
    rows = build_cost_table(grid, [profile("lora"), profile("lorasp", (0.2, 0.4, 0.6))]).rows
    assert rows[0][:2] == ("lora", "1,024") and rows[0][6] == "3.00 MiB"
    assert rows[0][7].startswith("80 (") and (rows[0][8], rows[1][8]) == ("1.00", "0.50")
    other = build_cost_table(grid, [profile("lora", length=64), profile("lorasp", model_revision="b" * 64)]).rows
    assert [row[6:] for row in other] == [("", "", ""), ("", "", "")]
    failed = build_cost_table(grid, [profile("lora", status="oom", step_seconds=[], samples_per_second=None)]).rows
    assert failed[0][6] == "oom"


def test_a_profile_belongs_to_one_precision() -> None:
    cells = [cell(), cell(quantize="nf4"), cell(dtype="bf16", quantize="nf4"), cell(quantize="sim3")]
    cells.append(cell(recompute="full"))
    (grid,) = build_grids([record(60.0, made) for made in cells])
    profiles = [profile(peak_bytes=2**20), profile(quantize="nf4", peak_bytes=2**21)]
    table = build_cost_table(grid, profiles)
    assert [row[6] for row in table.rows] == ["1.00 MiB", "2.00 MiB", "", "", ""]


def test_a_simulated_level_says_so_wherever_its_method_is_named() -> None:
    made = [record(60.0, cell(quantize="sim3")), record(None, cell("rte", quantize="sim3"))]
    (grid,) = build_grids(made)
    name, note = "lora [quantize=sim3, simulated]", "sim3: simulated in floating point, scores only"
    assert build_score_table(grid, "glue").head[-1] == build_metric_table(grid).head[-1] == name
    failures, costs = build_failure_table(grid), build_cost_table(grid, [profile(), profile(quantize="sim3")])
    assert failures is not None and failures.rows[0][1] == name and costs.rows[0][0] == name
    assert costs.rows[0][6:] == ("", "", "") and any(n.startswith(note) for n in costs.notes)
    assert (
        build_protocol_table(grid).rows[0][0] == name and "fp32, sim3 (simulated)" in build_protocol_table(grid).rows[0]
    )
    assert all(name in to_csv(rows).decode() for rows in (build_score_rows(made), build_cell_rows(made)))
    (plain,) = build_grids([record(60.0)])
    assert not any("simulated" in n for n in build_cost_table(plain, []).notes)


def test_failures_and_protocol() -> None:
    (grid,) = build_grids(grid_of(SCORES))
    table = build_failure_table(grid)
    assert table is not None and table.rows == [("cola", "lorasp", "2", "failed", "ValueError: on purpose")]
    assert build_failure_table(build_grids([record(1.0)])[0]) is None
    row = build_protocol_table(grid).rows[0]
    assert row[:3] == ("lora", "default", "0.001") and row[-1] == "3"
    assert build_metric_table(grid).rows[0][:3] == ("cola", "accuracy", "62.0 ± 5.0")


def test_shown_without_a_value() -> None:
    assert format_estimate(None) == "-"


def test_values_that_are_all_the_same_have_no_interval() -> None:
    """Two seeds of one accuracy are no proof of it: docs/statistics.md gives them none."""
    (grid,) = build_grids(grid_of({("cola", "lora"): [60.0, 60.0], ("cola", "lorasp"): [59.0, 59.0]}))
    assert build_score_table(grid, "glue").rows[0][3] == "60.0 (no spread)"
    differences = build_difference_table(grid, "glue")
    assert differences is not None
    assert differences.rows[0][2:] == ("-1.0 (no spread)", "2", "no spread over seeds: no interval")


def test_many_methods_become_rows() -> None:
    (grid,) = build_grids(grid_of({("cola", f"lora{i}"): [60.0 + i] for i in range(9)}))
    table = build_score_table(grid, "glue")
    assert table.head == ("method", "cola", "mean of 1 named task")
    assert table.rows[0] == ("score", "accuracy", "cola") and table.rows[1] == ("constant", "50.0", "")
    assert table.rows[2] == ("lora0", "60.0", "60.0") and len(table.rows) == 11


def test_cells_know_their_runs_and_names_when_turned_too() -> None:
    for methods in (2, 9):
        records = grid_of({("cola", f"lora{i}"): [60.0 + i, 61.0] for i in range(methods)})
        (grid,) = build_grids(records)
        table = build_score_table(grid, "glue")
        cells = [cell for row in table.rows for cell in row if isinstance(cell, LinkedText)]
        names = [cell for cell in (*table.head, *cells) if isinstance(cell, LinkedText) and cell.method]
        own = next(cell for cell in cells if cell.startswith("60.5"))
        assert own.runs == (records[0].key, records[1].key)
        assert [name.method for name in names] == list(grid.methods)
        assert any(cell.task == "cola" for cell in (*table.head, *cells) if isinstance(cell, LinkedText))


def test_a_budget_that_tasks_do_not_share_is_told_for_each() -> None:
    """Cells of two runs copied together are one row of scores; the table of protocols must not tell the first only."""
    made = [record(60.0, cell("cola", protocol={"max_steps": 100}))]
    made += [record(61.0, cell("rte", protocol={"max_steps": 200, "train_rows": 1000}))]
    (grid,) = build_grids(made)
    table = build_protocol_table(grid)
    told = dict(zip(table.head, table.rows[0], strict=True))
    assert told["budget"] == "cola 100 steps at most; rte 200 steps at most, 1,000 train rows at most"
    assert told["batch x tokens"] == "16 x 128"


def test_no_paired_difference_across_models() -> None:
    """A study that compares nothing (scaling) has two models in one table: no row sets one against the other."""
    other = ModelRef(name="other", revision="b" * 64)
    made = [record(60.0 + s, cell("cola", m, s)) for m in ("lora", "lorasp") for s in (0, 1)]
    made += [record(50.0 + s, cell("cola", "full", s, model=other)) for s in (0, 1)]
    (grid,) = build_grids(made)
    differences = build_difference_table(grid, "glue")
    assert differences is not None
    assert [row[4] for row in differences.rows if row[0] == "full"] == ["no paired seeds", "no paired seeds"]
    assert differences.rows[0][3] == "2"
