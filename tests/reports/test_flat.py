"""The flat rows of records, and their files read back by pandas."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from reports.flat import cell_rows, score_rows, to_csv, to_parquet
from tests.reports.records import cell, grid_of, record

SCORES = {("cola", "lora"): [60.0, 62.0, 64.0], ("cola", "lorasp"): [59.0, 62.5, None], ("rte", "lora"): [70.0]}


def test_scores_have_one_row_a_metric_and_one_for_a_cell_without() -> None:
    frame = pd.read_csv(io.BytesIO(to_csv(score_rows(grid_of(SCORES)))))
    assert list(frame) == ["suite", "task", "method", "seed", "metric", "value", "status", "key"]
    assert len(frame) == 7 and frame["value"].isna().sum() == 1
    means = frame[frame["status"] == "ok"].groupby(["task", "method"])["value"].mean()
    assert means["cola", "lora"] == pytest.approx(62.0) and means["cola", "lorasp"] == pytest.approx(60.75)
    assert frame.loc[frame["status"] == "failed", "seed"].tolist() == [2]


def test_cells_keep_values_exactly_and_text_with_commas() -> None:
    made = record(1 / 3, cell(method="lorasp", options={"ratio": 0.25, "select": "random"}))
    frame = pd.read_csv(io.BytesIO(to_csv(cell_rows([made]))), dtype=str)
    assert frame.loc[0, "method"] == "lorasp:ratio=0.25,select=random"
    assert float(frame.loc[0, "glue"]) == 1 / 3 and frame.loc[0, "adapter_trained"] == "1024"


@pytest.mark.parametrize("rows", [score_rows, cell_rows])
def test_parquet_holds_what_the_csv_holds(rows: type) -> None:
    made = rows(grid_of(SCORES))
    parquet = pd.read_parquet(io.BytesIO(to_parquet(made)))
    text = pd.read_csv(io.BytesIO(to_csv(made)))
    assert list(parquet) == list(text) and len(parquet) == len(text)
    for name in ("value", "glue", "adapter_trained"):
        if name in parquet:
            pd.testing.assert_series_equal(parquet[name], text[name], check_dtype=False, check_exact=True)
    assert parquet["method"].tolist() == text["method"].tolist()
