"""The bench of a grid: what is compared with what, and what the scores are said to show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.bench import rival
from harness.bench.grid import run_ours, same_scores
from harness.plan import make_plan
from harness.spec import make_spec
from tests.reports.records import cell, record

CELLS = [cell(method="lora", seed=seed) for seed in range(8)]


def said(ours: float, theirs: float, spread: float = 0.2) -> str:
    noise = spread * np.sin(np.arange(8.0))
    records = [record(ours + float(n), made) for n, made in zip(noise, CELLS, strict=True)]
    ran = [rival.Ran(1.0, 10, {"accuracy": theirs + float(n)}) for n in noise[::-1]]
    return same_scores(records, CELLS, ran)


def test_equivalence_needs_a_gap_well_within_the_margin() -> None:
    assert ", equivalent at 1 point" in said(80.0, 80.1)
    assert "not shown to be equivalent" in said(80.0, 82.0)
    assert "not shown to be equivalent" in said(80.0, 80.1, spread=4.0)


def test_seeds_without_spread_are_no_test() -> None:
    assert "no spread for a test" in said(80.0, 80.0, spread=0.0)


def test_the_rival_trains_the_same_rows_and_scores_them_in_its_own_order(tmp_path: Path) -> None:
    flags = {"tasks": ("sst2",), "methods": "lora", "seeds": "1", "max_steps": 60, "group_by_length": True}
    spec = make_spec(flags | {"threads": 1})
    plan = make_plan(spec)
    ran = rival.train(plan, plan.cells[0], rival.inputs_of(plan, plan.cells[0]), "cpu")
    ours = run_ours(plan, spec)
    assert ran.steps == 60 and ran.seconds > 0 and ours.seconds > 0
    # predictions held against labels in another order would lie at half
    assert ran.scores["accuracy"] > 70 and ours.records[0].scores["accuracy"] > 70
    assert ran.scores["accuracy"] == pytest.approx(ours.records[0].scores["accuracy"], abs=12)
