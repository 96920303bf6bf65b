"""The flat rows of records, and their files read back by pandas."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from reports.flat import build_cell_rows, build_score_rows, to_csv, to_parquet
from reports.render import write_report
from tests.reports.records import cell, grid_of, record

SCORES = {("cola", "lora"): [60.0, 62.0, 64.0], ("cola", "lorasp"): [59.0, 62.5, None], ("rte", "lora"): [70.0]}


def test_scores_have_one_row_a_metric_and_one_for_a_cell_without() -> None:
    frame = pd.read_csv(io.BytesIO(to_csv(build_score_rows(grid_of(SCORES)))))
    assert list(frame) == ["suite", "task", "method", "seed", "metric", "value", "status", "key"]
    assert len(frame) == 7 and frame["value"].isna().sum() == 1
    means = frame[frame["status"] == "ok"].groupby(["task", "method"])["value"].mean()
    assert means["cola", "lora"] == pytest.approx(62.0) and means["cola", "lorasp"] == pytest.approx(60.75)
    assert frame.loc[frame["status"] == "failed", "seed"].tolist() == [2]


def test_cells_keep_values_exactly_and_text_with_commas() -> None:
    made = record(1 / 3, cell(method="lorasp", options={"ratio": 0.25, "select": "random"}))
    frame = pd.read_csv(io.BytesIO(to_csv(build_cell_rows([made]))), dtype=str)
    assert frame.loc[0, "method"] == "lorasp:ratio=0.25,select=random"
    assert float(frame.loc[0, "glue"]) == 1 / 3 and frame.loc[0, "adapter_trained"] == "1024"


@pytest.mark.parametrize("rows", [build_score_rows, build_cell_rows])
def test_parquet_holds_what_the_csv_holds(rows: type) -> None:
    made = rows(grid_of(SCORES))
    parquet = pd.read_parquet(io.BytesIO(to_parquet(made)))
    text = pd.read_csv(io.BytesIO(to_csv(made)))
    assert list(parquet) == list(text) and len(parquet) == len(text)
    for name in ("value", "glue", "adapter_trained"):
        if name in parquet:
            pd.testing.assert_series_equal(parquet[name], text[name], check_dtype=False, check_exact=True)
    assert parquet["method"].tolist() == text["method"].tolist()


FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\uff1d1",
    '=HYPERLINK("x")',
]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_is_a_formula_is_neutralised_in_every_csv(text: str, tmp_path: Path) -> None:
    records = [
        record(60.0 + seed - 100.0 * (method == text), cell(text, method, seed, suite=text), (text,))
        for method in ("lora", text)
        for seed in (0, 1)
    ]
    failed = record(None, cell(text, "lora", 2, suite=text), (text,), reason=text)
    write_report([*records, failed], [], tmp_path, text, text, formats=("csv",), images=())
    tables = {path.name: list(csv.reader(path.open(newline=""))) for path in tmp_path.glob("*.csv")}
    assert tables.keys() >= {"scores.csv", "cells.csv"}
    for rows in tables.values():
        for value in (value for row in rows for value in row if value):
            assert value[0] not in "\t\r\n" and (
                value.strip()[0] not in "=+-@\uff1d" or isinstance(float(value), float)
            ), value
    column = tables["scores.csv"][0].index("value")
    assert sorted(float(row[column]) for row in tables["scores.csv"][1:] if row[column]) == [-40.0, -39.0, 60.0, 61.0]
    escaped = text.replace("\r", "\\x0d")
    assert {f"'{text}", escaped} & {row[0] for row in tables["scores.csv"]}
    assert len({len(row) for row in tables["scores.csv"]}) == 1


def test_numbers_stay_numbers_in_csv() -> None:
    values = [-1, -0.5, 1e-7, -1e300, "-0.5", "+3", "-1e-3", 0, None, "a-b", "x"]
    rows = list(csv.reader(io.StringIO(to_csv([{"value": value} for value in values]).decode())))
    assert [row[0] if row else "" for row in rows[1:]] == ["" if v is None else str(v) for v in values]


def test_no_file_of_a_report_sends_codes_to_a_terminal(tmp_path: Path) -> None:
    name = "a\x1b[31m\x1b]0;title\x07\x9b2J\x7f"
    records = [record(60.0 + seed, cell(name, m, seed), (name,)) for m in ("lora", f"m{name}") for seed in (0, 1)]
    failed = record(None, cell(name, "lora", 2), (name,), reason=name)
    formats = ("md", "html", "latex", "csv")
    write_report([*records, failed], [], tmp_path, name, name, formats=formats, images=("svg",))
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".md", ".html", ".tex", ".csv", ".svg")]
    assert len({path.suffix for path in files}) == 5
    for path in files:
        text = path.read_text()
        assert not [c for c in text if unicodedata.category(c) == "Cc" and c not in "\t\n"], path.name
