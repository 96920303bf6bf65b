"""What failed is counted wherever a mean is shown, and a score that is no number is no value."""

from __future__ import annotations

import math

import pytest

from harness.core.record import AverageInfo
from reports.frames import build_grids
from reports.statistics.comparisons import NEW_SEEDS
from reports.tables.languages import build_language_table
from reports.tables.metrics import build_metric_table
from reports.tables.protocol import build_protocol_table
from reports.tables.published import build_published_table
from reports.tables.scores import build_score_table
from tests.reports.records import cell, grid_of, record

BROKEN = {("cola", "lora"): [60.0, 62.0, 64.0], ("rte", "lora"): [70.0, 71.0, None]}
PUBLISHED = {
    **dict.fromkeys(("source", "arxiv", "table", "model", "method", "trainable_parameters", "protocol"), "x"),
    **{"task": "rte", "metric": "accuracy", "value": "80.0", "differences": "x"},
}


def test_each_mean_tells_how_many_cells_it_is_of() -> None:
    (grid,) = build_grids(grid_of(BROKEN))
    published = build_published_table(grid, [PUBLISHED])
    assert published is not None
    assert build_score_table(grid, "glue").rows[-1][3].endswith("(n=2 of 3)")
    assert build_metric_table(grid).rows[1][2].endswith("(n=2 of 3)")
    assert published.rows[0][-1].endswith("(n=2 of 3)")


def test_a_metric_that_is_no_number_is_no_value() -> None:
    records = [
        record(60.0 + s, cell("rte", seed=s), scores={"accuracy": 60.0 + s, "f1": math.nan if s == 2 else 50.0 + s})
        for s in range(3)
    ]
    (grid,) = build_grids(records)
    rows = {row[1]: row[2] for row in build_metric_table(grid).rows}
    assert rows["f1"].startswith("50.5 ± ") and rows["f1"].endswith("(n=2 of 3)") and "n=" not in rows["accuracy"]


def test_a_language_that_is_no_number_is_no_value() -> None:
    records = [
        record(
            60.0,
            cell("en", seed=s, suite="xnli"),
            averages={"xnli": AverageInfo(tasks=["en"], score=60.0)},
            scores={"accuracy_en": 60.0 + s, "accuracy_de": 50.0 + s if s else math.nan},
        )
        for s in range(3)
    ]
    (grid,) = build_grids(records)
    table = build_language_table(grid)
    assert table is not None and "51.5 ± " in table.rows[1][2] and "(n=2 of 3)" in table.rows[1][2]


def test_tables_say_what_their_intervals_hold_for() -> None:
    (grid,) = build_grids(grid_of({("rte", "lora"): [60.0, 61.0, 63.0], ("rte", "lorasp"): [61.0, 60.0, 64.0]}))
    assert any(NEW_SEEDS in note for note in build_score_table(grid, "glue").notes)


@pytest.mark.parametrize(("rates", "told"), [((0.01, 0.01), "0.01"), ((0.01, 0.2), "cola 0.01; rte 0.2")])
def test_a_rate_tuned_per_task_is_told_for_each(rates: tuple[float, float], told: str) -> None:
    tasks = ("cola", "rte")
    records = [
        record(60.0, cell(task, seed=seed, protocol={"lr": lr, "name": "tuned", "lr_source": "tuned"}))
        for task, lr in zip(tasks, rates, strict=True)
        for seed in range(2)
    ]
    (grid,) = build_grids(records)
    row = dict(zip(build_protocol_table(grid).head, build_protocol_table(grid).rows[0], strict=True))
    assert row["learning rate"] == told and row["its source"] == "tuned"


def test_the_constant_stands_beside_the_score_that_it_is_of() -> None:
    """MRPC: the mean of accuracy and F1 in one average, accuracy alone in the other."""
    both = {"accuracy": 68.4, "f1": 81.2}
    averages = {"glue": AverageInfo(tasks=["mrpc"], score=74.8), "lora": AverageInfo(tasks=["mrpc"], score=68.4)}
    (grid,) = build_grids(
        [record(0.0, cell("mrpc", seed=s), scores=both, averages=averages, majority=74.8) for s in (0, 1)]
    )
    assert build_score_table(grid, "glue").rows[0][1:3] == ("accuracy + f1", "74.8")
    assert build_score_table(grid, "lora").rows[0][1:3] == ("accuracy", "-")
