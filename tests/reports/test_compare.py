"""Estimates and paired differences against pandas and scipy."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.core.record import AverageInfo
from reports.compare import (
    estimate_average,
    estimate_task,
    find_coverage,
    find_headline_metrics,
)
from reports.frames import build_grids
from reports.statistics.analysis import analyse
from tests.reports.records import cell, grid_of, record

SCORES = {
    ("cola", "lora"): [60.0, 62.0, 64.0],
    ("rte", "lora"): [70.0, 75.0, 71.0],
    ("cola", "lorasp"): [59.0, 62.5, 61.0],
    ("rte", "lorasp"): [70.5, 73.0, 70.0],
}


def test_task_and_average_are_those_of_pandas() -> None:
    records = grid_of(SCORES)
    (grid,) = build_grids(records)
    frame = pd.DataFrame(
        [(r.cell.task, r.cell.method, r.cell.seeds["init"], r.scores["accuracy"]) for r in records],
        columns=["task", "method", "seed", "score"],
    )
    cover = find_coverage(grid, "glue")
    assert cover.full and cover.label == "average of 2 tasks"
    for method, own in frame.groupby("method"):
        per_seed = own.groupby("seed")["score"].mean()
        found = estimate_average(grid, str(method), cover)
        assert found is not None and found.mean == pytest.approx(per_seed.mean())
        assert found.half == pytest.approx(stats.t.ppf(0.975, 2) * per_seed.std() / np.sqrt(3))
        for task, values in own.groupby("task")["score"]:
            one = estimate_task(grid, str(task), str(method), "glue")
            assert one is not None and one.mean == pytest.approx(values.mean()) and one.n == 3


def test_differences_are_those_of_ttest_rel() -> None:
    found = {j.comparison.place: j.comparison.estimate for j in analyse(grid_of(SCORES), []).judged}
    expected = stats.ttest_rel(SCORES["cola", "lorasp"], SCORES["cola", "lora"]).confidence_interval()
    gap = found["cola"]
    assert gap is not None and (gap.low, gap.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    means = [np.mean([SCORES[task, m] for task in ("cola", "rte")], axis=0) for m in ("lorasp", "lora")]
    expected = stats.ttest_rel(*means).confidence_interval()
    gap = found["average of 2 tasks"]
    assert gap is not None and (gap.low, gap.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_a_missing_task_makes_no_average() -> None:
    (grid,) = build_grids(grid_of({("cola", "lora"): [60.0], ("cola", "lorasp"): [61.0]}))
    cover = find_coverage(grid, "glue")
    assert not cover.full and cover.label == "mean of 1 task" and cover.missing == {"rte": "not run"}


def test_a_task_that_one_method_lacks_is_left_out_for_all() -> None:
    (grid,) = build_grids(grid_of(SCORES | {("rte", "lorasp"): [None, None, None]}))
    cover = find_coverage(grid, "glue")
    assert cover.tasks == ("cola",) and cover.missing == {"rte": "no score from lorasp"}
    lora = estimate_average(grid, "lora", cover)
    assert lora is not None and lora.mean == pytest.approx(62.0)


def test_seeds_that_only_one_method_has_are_not_paired() -> None:
    records = [record(v, cell(method="lora", seed=s)) for s, v in ((0, 60.0), (1, 62.0), (2, 90.0))]
    records += [record(v, cell(method="lorasp", seed=s)) for s, v in ((1, 63.0), (2, 91.0), (3, 10.0))]
    comparison = analyse(records, []).judged[0].comparison
    assert (comparison.difference, comparison.pairs) == (pytest.approx(1.0), 2)


def test_other_rows_are_not_paired() -> None:
    records = [record(60.0), record(61.0, cell(method="lorasp", protocol={"eval_rows": 10}))]
    assert analyse(records, []).judged[0].comparison.pairs == 0


def two_metrics(accuracy: float, f1: float, names: list[str] | None) -> dict[str, object]:
    info = AverageInfo(tasks=["mrpc"], score=(accuracy + f1) / 2, metrics=names)
    return {"scores": {"accuracy": accuracy, "f1": f1, "mean": (accuracy + f1) / 2}, "averages": {"glue": info}}


def test_the_headline_is_what_records_store_and_not_what_fits() -> None:
    """A metric that happens to equal the mean is what a search would find."""
    stored = [
        record(0.0, cell("mrpc", seed=s), **two_metrics(70.0 + s, 80.0 + 2 * s, ["accuracy", "f1"])) for s in (0, 1)
    ]
    assert find_headline_metrics(stored, "glue") == ("accuracy", "f1")
    other = record(0.0, cell("mrpc", seed=2), **two_metrics(70.0, 80.0, ["mean"]))
    assert find_headline_metrics([*stored, other], "glue") == ()


def test_the_headline_of_old_records_is_found_from_the_numbers() -> None:
    old = [record(0.0, cell("mrpc", seed=s), **two_metrics(70.0 + s, 80.0 + 2 * s, None)) for s in (0, 1)]
    for one in old:
        del one.scores["mean"]
    assert "metrics" not in json.loads(old[0].model_dump_json(exclude_defaults=True))["averages"]["glue"]
    assert find_headline_metrics(old, "glue") == ("accuracy", "f1")
    assert find_headline_metrics([record(60.0)], "glue") == ("accuracy",)
    assert find_headline_metrics([record(60.0, cell("wnli"))], "glue") == ("accuracy",)
