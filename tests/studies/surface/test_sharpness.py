"""Sharpness beside best rates, against scipy and closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from harness.cli.main import main
from studies.surface.rates import choose_rates
from studies.surface.runs import COLUMNS, SHARPNESS, read_runs, write_runs
from studies.surface.sharpness import compute_correlations, list_correlations, list_sharpness
from tests.studies.surface.test_study import REFERENCE, SMALL

RATES, SEEDS = (1e-3, 2e-3, 4e-3), range(4)
TOPS = {"lora": (8.0, 1e-3), "lorasp": (4.0, 2e-3), "flat": (1.0, 4e-3)}
"""Method -> (sharpness at the start, best rate)."""


def build_runs() -> pd.DataFrame:
    """Runs of a search on two tasks: the flatter a method, the larger its best rate; sharpness halves in training."""
    rng, rows = np.random.default_rng(0), []
    for task in ("cola", "rte"):
        for method, (top, best) in TOPS.items():
            for seed in SEEDS:
                start = top * math.exp(rng.normal(0, 0.1))
                for rate in RATES:
                    score = 80.0 - 5 * abs(math.log2(rate / best))
                    named = [start, start / 2, 10 * start, 5 * start]
                    fixed = ["glue", task, method, rate, 16, "10 epochs", seed, "search", "ok", score, score, 50.0, 9]
                    rows.append([*fixed, True, "quick", "tiny", "fp32", "cpu", None, *named])
    return pd.DataFrame(rows, columns=[*COLUMNS, *SHARPNESS])


def test_means_and_ratios_are_geometric_and_paired_by_seed() -> None:
    runs = build_runs()
    rows = list_sharpness(runs, choose_rates(runs), "lora")
    assert len(rows) == 6 and all(row["seeds"] == 4 for row in rows)
    first = runs[(runs["task"] == "cola") & (runs["lr"] == RATES[0])].pivot(
        index="seed", columns="method", values="sharpness_before"
    )
    (row,) = (row for row in rows if (row["task"], row["method"]) == ("cola", "lorasp"))
    assert row["at the start"] == f"{scipy.stats.gmean(first['lorasp']):.3g}"
    assert row["at the best rate"] == f"{scipy.stats.gmean(first['lorasp']) / 2:.3g}"
    assert row["rate * sharpness"] == f"{2e-3 * scipy.stats.gmean(first['lorasp']) / 2:.2g}"
    logs = np.log(first["lorasp"] / first["lora"])
    low, high = np.exp(scipy.stats.t.interval(0.95, 3, logs.mean(), scipy.stats.sem(logs)))
    assert row["ratio at the start"] == f"{math.exp(logs.mean()):.2f} ({low:.2f} to {high:.2f})"
    assert not any(row["ratio at the start"] for row in rows if row["method"] == "lora")


def test_correlations_are_spearman_s() -> None:
    rng = np.random.default_rng(1)
    rates, sharpness = rng.integers(0, 3, (5, 8)).astype(float), rng.normal(size=(5, 8))
    expected = [scipy.stats.spearmanr(a, b).statistic for a, b in zip(rates, sharpness, strict=True)]
    assert compute_correlations(rates, sharpness) == pytest.approx(expected)
    assert np.isnan(compute_correlations(np.ones((1, 4)), rng.normal(size=(1, 4)))).all()


def test_flatter_losses_with_larger_rates_are_anticorrelated() -> None:
    runs = build_runs()
    start, end = list_correlations(runs, choose_rates(runs))
    assert start["pairs"] == end["pairs"] == 6
    assert start["within tasks"] == end["within tasks"] == "-1.00 (-1.00 to -1.00)"
    assert float(start["rank correlation"].split()[0]) < -0.9
    # a rate at which a run has no sharpness leaves its pair out
    runs.loc[(runs["method"] == "flat") & (runs["seed"] == 0) & (runs["lr"] == RATES[0]), "sharpness_after"] = math.nan
    assert [row["pairs"] for row in list_correlations(runs, choose_rates(runs))] == [6, 4]


def test_a_table_keeps_the_columns_and_one_without_them_is_read(tmp_path: Path) -> None:
    runs = build_runs()
    write_runs(runs, tmp_path / "surface.parquet")
    stored = read_runs(tmp_path)
    order = ["task", "method", "lr", "seed"]
    expected = runs.sort_values(order)["sharpness_after"].to_numpy()
    assert stored.sort_values(order)["sharpness_after"].to_numpy() == pytest.approx(expected, rel=1e-6)
    old = read_runs(REFERENCE)
    assert not set(SHARPNESS) & set(old) and not list_sharpness(old, {}, "lora") and not list_correlations(old, {})


@pytest.mark.slow
def test_a_study_with_sharpness_has_its_tables(tmp_path: Path) -> None:
    declared = tmp_path / "small.toml"
    declared.write_text(SMALL)
    words = ["--sharpness", "--train-rows", "40", "--formats", "md", "--figures", "svg"]
    assert main(["study", str(declared), "--out", str(tmp_path / "out"), *words]) == 0
    runs = read_runs(tmp_path / "out")
    values = runs[list(SHARPNESS)]
    # an eigenvalue that is not accurate is left out
    assert (values[values.notna()] > 0).sum().sum() == values.notna().sum().sum() >= values.size / 2
    report = (tmp_path / "out" / "report" / "report.md").read_text()
    assert "Sharpness of the loss" in report and "ratio at the best rate" in report
    assert "Sharpness and best rate" not in report  # two pairs have no correlation
