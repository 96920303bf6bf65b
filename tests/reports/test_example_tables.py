"""The report's table of examples that change, against counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.core.record import Record
from reports.frames import Grid, build_grids
from reports.registered import SuiteContext
from reports.statistics.analysis import analyse
from reports.statistics.families import Question
from reports.tables.examples import build
from tests.reports.predicted import guesses, kept


def keep_three_methods(
    folder: Path, seeds: int
) -> tuple[Grid, list[Record], dict[tuple[str, int], np.ndarray], np.ndarray]:
    """The grid of lora, lorasp and dora, its records, their predictions by (method, seed) and the 300 targets."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 300)
    said = {(m, s): guesses(rng, targets, 0.8) for m in ("lora", "lorasp", "dora") for s in range(seeds)}
    records = [kept(folder, p, targets, method=m, seed=s) for (m, s), p in said.items()]
    (grid,) = build_grids(records)
    return grid, records, said, targets


def test_counts_are_means_over_pairs_of_runs(tmp_path: Path) -> None:
    grid, records, said, targets = keep_three_methods(tmp_path, seeds=4)
    table = build(SuiteContext(grid, analysis=analyse(records, [], cells=tmp_path)))
    assert table is not None and [row[:2] for row in table.rows] == [("rte", "lorasp"), ("rte", "dora")]
    for row in table.rows:
        pairs = [(said["lora", s] == targets, said[row[1], s] == targets) for s in range(4)]
        counts = [np.mean([np.sum(a & ~b) for a, b in pairs]), np.mean([np.sum(b & ~a) for a, b in pairs])]
        assert row[2:5] == (*(f"{c:.1f}" for c in counts), "4")


def test_no_predictions_no_table(tmp_path: Path) -> None:
    targets = np.zeros(5, dtype=int)
    records = [kept(tmp_path, targets, targets, method=m) for m in ("lora", "lorasp")]
    (grid,) = build_grids(records)
    assert build(SuiteContext(grid, analysis=analyse(records, []))) is None
    assert build(SuiteContext(grid)) is None


def test_the_declared_baseline_is_what_examples_and_aggregates_are_compared_with(tmp_path: Path) -> None:
    """In "lora vs dora, lorasp vs lora" it is dora, and lora stands on the other side of a declared pair."""
    grid, records, said, targets = keep_three_methods(tmp_path, seeds=3)
    for declared, baseline in (("lora vs dora", "dora"), ("lora vs lorasp, lorasp vs dora", "lorasp")):
        analysis = analyse(records, [], cells=tmp_path, question=Question(declared))
        table = build(SuiteContext(grid, analysis=analysis))
        assert table is not None and table.title.endswith(f"against {baseline}")
        assert {row[1] for row in table.rows} == {"lora", "lorasp", "dora"} - {baseline}
        for row in table.rows:
            lost = [np.sum((said[baseline, s] == targets) & (said[row[1], s] != targets)) for s in range(3)]
            assert row[2] == f"{np.mean(lost):.1f}"
        gaps = analysis.aggregates[analysis.aggregates["measure"] == "difference to the baseline"]
        assert set(gaps["method"]) == {"lora", "lorasp", "dora"} - {baseline}
