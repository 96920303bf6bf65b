"""The entry point: frames against pandas, the same bits twice, and the time for 2,000 records."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.core.record import AverageInfo, Record
from reports.frames import build_grids
from reports.statistics.analysis import analyse
from reports.statistics.clusters import estimate_clustered_mean
from reports.statistics.opponents import list_opponents
from tests.reports.predicted import guesses, kept
from tests.reports.records import cell, grid_of, record

FRAMES = ("scores", "aggregates", "profiles", "components", "pairs")


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    rng = np.random.default_rng(0)
    made = []
    for task in ("cola", "rte"):
        targets = rng.integers(0, 2, 150)
        for method, skill in (("lora", 0.8), ("lorasp", 0.75), ("full", 0.85)):
            for seed in range(4):
                said = guesses(rng, targets, skill)
                made.append(kept(tmp_path, said, targets, task=task, method=method, seed=seed, tasks=("cola", "rte")))
    return made


def test_the_same_bits_twice_in_any_order_of_tasks(tmp_path: Path, records: list[Record]) -> None:
    a, b = (analyse(records, [], margin=1.0, seed=3, cells=tmp_path) for _ in range(2))
    assert a.judged == b.judged and a.signatures == b.signatures
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(a, name), getattr(b, name), check_exact=True)
    others = [analyse(records, [], margin=1.0, seed=seed, cells=tmp_path) for seed in range(12)]
    assert all(other.judged == a.judged for other in others)  # nothing that a verdict rests on is drawn
    alone = analyse([r for r in records if r.cell.task == "rte"], [], margin=1.0, seed=3, cells=tmp_path)
    both = {(j.comparison.place, j.comparison.method, j.comparison.first): j.comparison.estimate for j in a.judged}
    assert alone.judged[0].comparison.estimate == both["rte", "lorasp", "lora"]


def test_scores_are_pandas(tmp_path: Path, records: list[Record]) -> None:
    found = analyse(records, [], cells=tmp_path).scores
    plain = pd.DataFrame([(r.cell.task, r.cell.method, r.scores["accuracy"]) for r in records], columns=["t", "m", "y"])
    for (task, method), own in plain.groupby(["t", "m"]):
        row = found[(found.task == task) & (found.method == method)].iloc[0]
        interval = stats.t.interval(0.95, 3, loc=own.y.mean(), scale=stats.sem(own.y))
        assert (row.score, row.low, row.high, row.n) == (pytest.approx(own.y.mean()), *map(pytest.approx, interval), 4)
    means = found[found.task == "average of 2 tasks"].set_index("method").score
    assert means.to_dict() == pytest.approx(plain.groupby("m").y.mean().to_dict())


def test_standard_errors_over_examples(tmp_path: Path, records: list[Record]) -> None:
    found = analyse(records, [], cells=tmp_path).scores
    own = [pd.read_parquet(tmp_path / f"{r.key}.parquet") for r in records[:4]]
    right = np.mean([100.0 * (f.prediction == f.target) for f in own], axis=0)
    expected = estimate_clustered_mean(right, np.arange(150))
    assert expected is not None and found.example_se[0] == pytest.approx(expected.se) and found.clusters[0] == 150


def test_the_mean_over_tasks_carries_the_examples_of_each(tmp_path: Path, records: list[Record]) -> None:
    """Independent test sets: the variance of the mean is a quarter of the sum of the tasks' variances."""
    found = [j.comparison for j in analyse(records, [], cells=tmp_path).judged]
    judged = {(c.place, c.method): c for c in found if c.first == "lora"}
    parts = [judged[task, "lorasp"].examples for task in ("cola", "rte")]
    mean = judged["average of 2 tasks", "lorasp"]
    assert mean.examples is not None and all(parts)
    assert mean.examples.se**2 == pytest.approx(sum(p.se**2 for p in parts if p) / 4)
    by_seed = [
        np.mean([r.scores["accuracy"] * (1 if r.cell.method == "lorasp" else -1) for r in of]) * 2
        for s in range(4)
        for of in [[r for r in records if r.cell.seeds["init"] == s and r.cell.method != "full"]]
    ]
    expected = stats.ttest_1samp(by_seed, 0).confidence_interval()
    assert mean.seeds is not None and (mean.seeds.low, mean.seeds.high) == tuple(pytest.approx(x) for x in expected)


def test_tasks_that_share_no_seeds_add_their_variances() -> None:
    rng = np.random.default_rng(0)
    scores = {place: rng.normal(70, 2, 6) for place in [(t, m) for t in ("cola", "rte") for m in ("lora", "lorasp")]}
    records = [
        record(float(y), cell(t, m, seed=s + (10 if t == "rte" else 0)))
        for (t, m), values in scores.items()
        for s, y in enumerate(values)
    ]
    mean = analyse(records, []).judged[-1].comparison
    gaps = [scores[t, "lorasp"] - scores[t, "lora"] for t in ("cola", "rte")]
    expected = stats.ttest_ind(gaps[0], -gaps[1], equal_var=False)
    assert mean.estimate is not None and mean.estimate.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_lorasp_meets_lora_and_full_wherever_they_stand() -> None:
    (grid,) = build_grids(grid_of({("rte", m): [70.0, 71.0] for m in ("head", "lorasp", "lora", "full")}, ["rte"]))
    assert list_opponents(grid) == [
        ("lorasp", "head"),
        ("lora", "head"),
        ("full", "head"),
        ("lorasp", "lora"),
        ("lorasp", "full"),
    ]


def test_aggregates_of_a_failed_method_are_left_out() -> None:
    scores: dict[tuple[str, str], Sequence[float | None]] = {
        ("rte", "lora"): [70.0, 71.0],
        ("rte", "lorasp"): [None, None],
        ("rte", "full"): [75.0, 74.0],
    }
    found = analyse(grid_of(scores, ["rte"]), [])
    assert set(found.aggregates.method) == {"lora", "full"} and set(found.profiles.method) == {"lora", "full"}
    assert found.scores.score.isna().tolist()[:3] == [False, True, False]


def test_nothing_but_failures_is_told() -> None:
    found = analyse(grid_of({("rte", "lora"): [None], ("rte", "lorasp"): [None]}, ["rte"]), [])
    assert [j.verdict.kind for j in found.judged] == ["failed"] and found.aggregates.empty and found.profiles.empty


def _many(tasks: int, methods: int, seeds: int) -> list[Record]:
    rng = np.random.default_rng(0)
    names = [f"task{t}" for t in range(tasks)]
    return [
        record(float(rng.normal(70, 2)), cell(t, f"method{m}", seed=s), names)
        for t in names
        for m in range(methods)
        for s in range(seeds)
    ]


def test_two_thousand_records_take_seconds() -> None:
    records = _many(8, 25, 10)
    started = time.process_time()
    found = analyse(records, [], margin=1.0)
    assert len(records) == 2000 and len(found.judged) == 24 * 9
    assert time.process_time() - started < 10


def test_an_average_of_two_metrics_uses_both(tmp_path: Path) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 150)
    records = []
    for method in ("lora", "lorasp"):
        for seed in range(3):
            said = guesses(rng, targets, 0.8)
            scores = {"accuracy": 100 * accuracy_score(targets, said), "f1": 100 * f1_score(targets, said)}
            made = kept(tmp_path, said, targets, task="mrpc", method=method, seed=seed)
            averages = {"glue": AverageInfo(tasks=["mrpc"], score=sum(scores.values()) / 2)}
            records.append(made.model_copy(update={"scores": scores, "averages": averages}))
    found = analyse(records, [], cells=tmp_path).judged[0].comparison
    assert found.why == "" and found.target == "new seeds and new examples"


@pytest.mark.parametrize("seeds", [300, pytest.param(1000, marks=pytest.mark.slow)])
def test_many_seeds_take_time_and_memory_in_proportion(seeds: int) -> None:
    """No matrix of seeds x seeds and 1,000 draws, which is 0.7 GiB at 300 seeds and 7.5 at 1,000."""
    records = _many(9, 2, seeds)
    tracemalloc.start()
    started = time.process_time()
    found = analyse(records, [], margin=1.0)
    seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.judged) == 10 and peak < seeds * 0.2 * 2**20
    assert seconds < 120 * seeds / 1000  # tracing costs a factor of three or so
