"""Stored records as a frame, and the main job from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import results
from harness.core.errors import UserError
from harness.planning.protocol import AXIS_FIELDS
from tests.reports.records import cell, grid_of, record, store_of

SCORES = {("cola", "lora"): [60.0, 62.0], ("cola", "lorasp"): [59.0, None]}


def test_one_row_a_cell_and_score(tmp_path: Path) -> None:
    made = grid_of(SCORES)
    made.append(record(50.0, cell("rte", seeds={"init": 0, "mask": 3}), scores={"accuracy": 50.0, "f1": 40.0}))
    frame = results.load(store_of(tmp_path, made))
    assert len(frame) == 6 and set(frame["key"]) == {r.key for r in made}
    assert frame.groupby(["task", "method"])["value"].mean()["cola", "lora"] == 61.0
    failed = frame[frame["status"] == "failed"]
    assert failed["value"].isna().all() and failed["reason"].tolist() == ["ValueError: on purpose"]
    mixed = frame[frame["task"] == "rte"]
    assert mixed["metric"].tolist() == ["accuracy", "f1"] and mixed["seed"].isna().all()
    assert mixed["seed_mask"].tolist() == [3, 3] and frame["seed"].dtype == "Int64"
    assert isinstance(frame["finished"].dtype, pd.DatetimeTZDtype)


def test_cells_of_two_budgets_can_be_told_apart(tmp_path: Path) -> None:
    made = [record(60.0 + n, cell("rte", protocol={"max_steps": n, "train_rows": 9})) for n in (10, 20)]
    frame = results.load(store_of(tmp_path, [*made, record(90.0, cell("rte"))]))
    assert frame.groupby("max_steps", dropna=False)["value"].mean().tolist() == [70.0, 80.0, 90.0]
    assert frame["train_rows"].dtype == "Int64" and frame["epochs"].tolist() == [3.0] * 3


@pytest.mark.parametrize("field", AXIS_FIELDS)
def test_cells_that_differ_in_a_setting_with_several_values_can_be_told_apart(field: str, tmp_path: Path) -> None:
    texts: dict[str, tuple[Any, Any]] = {"schedule": ("linear", "cosine"), "optimizer": ("adamw", "sgd")}
    values = texts.get(field, (4, 8))
    made = [record(60.0, cell("rte", protocol={field: value})) for value in values]
    assert set(results.load(store_of(tmp_path, made))[field]) == set(values)


def test_each_column_is_documented(tmp_path: Path) -> None:
    frame = results.load(store_of(tmp_path, [record(60.0)]))
    words = " ".join([*results.COLUMNS, *results.COLUMNS.values()])
    assert all(column in words for column in frame) and set(results.COLUMNS) <= set(frame)


def test_a_folder_without_cells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no stored cells; give the folder of a run"):
        results.load(tmp_path / "nowhere")


def test_the_main_job_from_python(tmp_path: Path) -> None:
    outcome = results.run(
        suite="glue",
        methods="lora,lorasp",
        tasks="rte",
        seeds=1,
        max_steps=2,
        eval_rows=20,
        profile=False,
        threads=1,
        out=tmp_path,
        formats="md",
        figures="svg",
    )
    assert outcome.failed == 0 and outcome.report == tmp_path / "report" / "report.md"
    frame = results.load(outcome.out)
    assert sorted(frame["method"]) == ["lora", "lorasp"] and frame["value"].between(0, 100).all()
    with pytest.raises(UserError, match="unknown format 'pdf'"):
        results.run(formats="pdf", out=tmp_path)
