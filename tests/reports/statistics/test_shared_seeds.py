"""Means over crossed seeds against the t-interval of level means, and coverage by simulation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from harness.core.record import Record
from harness.core.seeds import STREAMS
from reports.compare import estimate_task
from reports.findings import build_findings
from reports.frames import Seeds, build_grids
from reports.statistics.analysis import analyse
from reports.statistics.shared_seeds import describe_streams, estimate_over_seeds
from reports.statistics.student import estimate_mean
from reports.tables.scores import build_score_table
from tests.reports.records import cell, record


def key(init: int, mask: int, rest: int = 0) -> Seeds:
    return tuple(sorted((dict.fromkeys(STREAMS, rest) | {"init": init, "mask": mask}).items()))


def crossed(rng: np.random.Generator, side: int, init: float, mask: float, rest: float) -> dict[Seeds, float]:
    a, b = rng.normal(0, init, side), rng.normal(0, mask, side)
    return {key(i, m): float(a[i] + b[m] + rng.normal(0, rest)) for i in range(side) for m in range(side)}


def test_seeds_that_move_together_are_the_t_interval() -> None:
    values = {key(s, s, s): float(v) for s, v in enumerate([70.0, 71.5, 69.0, 72.0])}
    assert estimate_over_seeds(values) == estimate_mean(list(values.values())) and describe_streams(values) == ""


def test_a_method_that_no_mask_touches_has_as_many_runs_as_init_seeds() -> None:
    """25 runs of plain LoRA over five init and five mask seeds are five results, each five times."""
    means = [70.0, 71.5, 69.0, 72.0, 70.2]
    found = estimate_over_seeds({key(i, m): v for i, v in enumerate(means) for m in range(5)})
    expected = stats.ttest_1samp(means, 0.0).confidence_interval(0.95)
    assert found is not None and (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6)


def test_balanced_variance_is_that_of_the_analysis_of_variance() -> None:
    values = crossed(np.random.default_rng(4), 4, 2.0, 2.0, 0.5)
    table = np.array([[values[key(i, m)] for m in range(4)] for i in range(4)])
    rows, columns = 4 * table.mean(axis=1).var(ddof=1), 4 * table.mean(axis=0).var(ddof=1)
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    found = estimate_over_seeds(values)
    assert found is not None and found.se**2 == pytest.approx((rows + columns - (rest**2).sum() / 9) / 16)


@pytest.mark.parametrize(("init", "mask", "rest"), [(1.0, 0.0, 0.001), (1.0, 1.0, 1.0), (0.3, 0.6, 0.8)])
def test_intervals_cover(init: float, mask: float, rest: float) -> None:
    rng = np.random.default_rng(0)
    found = [estimate_over_seeds(crossed(rng, 5, init, mask, rest)) for _ in range(400)]
    assert sum(f is not None and f.low <= 0 <= f.high for f in found) >= 0.925 * 400


def records(values: Mapping[Seeds, float], method: str = "lora") -> list[Record]:
    return [record(v, cell("rte", method, seeds=dict(seeds))) for seeds, v in values.items()]


def test_report_says_which_seeds_vary_and_takes_no_run_for_independent() -> None:
    rng = np.random.default_rng(1)
    own = {s: 70 + v for s, v in crossed(rng, 4, 2.0, 0.0, 0.01).items()}
    other = {s: v + 1 + 2 * dict(s)["mask"] for s, v in own.items()}
    made = records(own) + records(other, "lorasp")
    (grid,) = build_grids(made)
    shown, alone = estimate_task(grid, "rte", "lora", "glue"), estimate_mean(list(own.values()))
    assert shown is not None and alone is not None and shown.half is not None and shown.half > 2.5 * alone.half
    assert any("init x mask" in note for note in build_score_table(grid, "glue").notes)
    found = analyse(made, [])
    judged = found.judged[0]
    assert judged.comparison.counted == "16 paired seeds of init x mask"
    assert judged.comparison.estimate is not None and judged.comparison.estimate.df < 4
    assert all(row["low"] is None for row in found.rows["aggregates"])


def test_over_all_tasks_says_how_many_runs_have_no_score() -> None:
    made = [record(70.0 + s, cell(task, seed=s)) for task in ("cola", "rte") for s in range(4)]
    made += [record(None if s == 2 else 71.0 + s, cell(t, "lorasp", seed=s)) for t in ("cola", "rte") for s in range(4)]
    tables = {title: (rows, notes) for title, rows, notes, *_ in build_findings(analyse(made, [])).tables}
    rows, notes = tables["Over all tasks"]
    assert [row["runs"] for row in rows] == [8, "6 of 8"] and any("without a score" in note for note in notes)


def test_an_unbalanced_stream_is_not_taken_for_known() -> None:
    """Five runs that vary all, and twenty more at the first order seed: its error stays in the mean."""
    rng, hits, plain = np.random.default_rng(2), 0, 0
    for _ in range(200):
        order = rng.normal(0, 3, 5)
        values = {k: v + order[0] for k, v in crossed(rng, 5, 0.3, 0.3, 0.4).items()}
        values |= {key(i, i, i): float(order[i] + rng.normal(0, 0.4)) for i in range(1, 5)}
        found, alone = estimate_over_seeds(values), estimate_mean(list(values.values()))
        hits += found is not None and found.low <= 0 <= found.high
        plain += alone is not None and alone.low <= 0 <= alone.high
    assert hits >= 185 and plain < 80
