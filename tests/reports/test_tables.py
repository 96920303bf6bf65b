"""Tables and CSV files."""

from __future__ import annotations

import numpy as np

from harness.core.profile import MachineLoad
from harness.core.record import Record, Truncation
from reports.cells import format_estimate
from reports.document import LinkedText
from reports.flat import build_cell_rows, build_score_rows, to_csv
from reports.frames import build_grids
from reports.tables.cost import build_cost_table
from reports.tables.failures import build_failure_table
from reports.tables.metrics import build_metric_table
from reports.tables.protocol import build_protocol_table, list_truncations
from reports.tables.scores import build_score_table
from tests.reports.records import cell, grid_of, profile, record

SCORES = {("cola", "lora"): [60.0, 62.0, 64.0], ("cola", "lorasp"): [59.0, 62.5, None], ("rte", "lora"): [70.0]}


def test_score_table_shows_interval_count_and_constant() -> None:
    (grid,) = build_grids(grid_of(SCORES))
    table = build_score_table(grid, "glue")
    assert table.head == ("task", "score", "constant", "lora", "lorasp")
    assert table.rows[0] == ("cola", "accuracy", "50.0", "62.0 ± 5.0", "60.8 ± 22.2 (n=2 of 3)")
    assert table.rows[1][4] == "-" and table.rows[2][0] == "mean of 1 task"
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
    (grid,) = build_grids(grid_of({("cola", "lora"): [60.0, 61.0]}))
    assert not any("no spread" in n for n in build_score_table(grid, "glue").notes)


def test_cost_comes_from_profiles_of_the_same_shape_only() -> None:
    (grid,) = build_grids(grid_of({("cola", "lora"): [60.0], ("cola", "lorasp"): [61.0]}))
    quiet = MachineLoad(before=1.0, after=1.0, others=0.02)
    rows = build_cost_table(grid, [profile("lora"), profile("lorasp", (0.2, 0.4, 0.6), load=quiet)]).rows
    assert rows[0][:2] == ("lora", "1,024") and rows[0][6] == "3.00 MiB"
    low, median, high = 16 / np.quantile([0.1, 0.2, 0.3], [0.9, 0.5, 0.1])
    assert rows[0][7] == f"{median:.0f} ({low:.0f} to {high:.0f})"
    assert (rows[0][8], rows[1][8]) == ("load unknown", "others 2 %")
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


def test_many_methods_become_rows() -> None:
    (grid,) = build_grids(grid_of({("cola", f"lora{i}"): [60.0 + i] for i in range(9)}))
    table = build_score_table(grid, "glue")
    assert table.head == ("method", "cola", "mean of 1 task")
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


def test_truncated_rows_are_told_for_each_length_limit() -> None:
    def cut(method: str, length: int, rows: int) -> Record:
        truncation = Truncation(rows={"train": rows, "test": 0}, total={"train": 100, "test": 50})
        return record(70.0, cell(method=method, protocol={"max_length": length}), truncation=truncation)

    (grid,) = build_grids([cut("lora", 128, 3), cut("lorasp", 128, 3)])
    assert list_truncations(grid) == ["cola train 3 of 100"]
    (grid,) = build_grids([cut("lora", 128, 3), cut("lorasp", 64, 20)])
    assert list_truncations(grid) == ["cola train 3 of 100 (at 128 tokens)", "cola train 20 of 100 (at 64 tokens)"]
