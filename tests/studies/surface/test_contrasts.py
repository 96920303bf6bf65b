"""Comparisons at best rates, against scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from reports.statistics.student import Student
from studies.rules.margins import judge_estimates
from studies.surface.contrasts import contrast, decide, group_tasks


def build_confirming(scores: dict[tuple[str, str], np.ndarray], majority: float = 0.0) -> pd.DataFrame:
    """(task, method) -> scores by seed."""
    return pd.DataFrame(
        [
            {
                "suite": "glue",
                "task": task,
                "batch_size": 16,
                "budget": "3 epochs",
                "method": method,
                "lr": 1e-3,
                "seed": 100 + seed,
                "score": score,
                "majority": majority,
            }
            for (task, method), values in scores.items()
            for seed, score in enumerate(values)
        ]
    )


def draw(seed: int, *centres: float, n: int = 40) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(centre, 2.0, n) for centre in centres]


def test_a_task_is_compared_by_a_paired_t_test() -> None:
    first, second = draw(0, 71.0, 70.0)
    (task,) = group_tasks(build_confirming({("cola", "lorasp"): first, ("cola", "lora"): second}), 2.0)
    found = task.estimate("lorasp", "lora")
    expected = scipy.stats.ttest_rel(first, second)
    interval = expected.confidence_interval()
    assert found is not None and found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_the_mean_over_tasks_weighs_them_alike() -> None:
    a, b, c, d = draw(1, 71.0, 70.0, 80.0, 83.0)
    scores = {("cola", "x"): a, ("cola", "y"): b, ("rte", "x"): c[:10], ("rte", "y"): d[:10]}
    found = contrast(group_tasks(build_confirming(scores), 2.0), "x", "y").all_runs
    differences = [a - b, c[:10] - d[:10]]
    variances = [np.var(x, ddof=1) / len(x) for x in differences]
    df = sum(variances) ** 2 / sum(v**2 / (len(x) - 1) for v, x in zip(variances, differences, strict=True))
    assert found is not None
    assert found.value == pytest.approx(np.mean([x.mean() for x in differences]))
    assert (found.se, found.df) == pytest.approx((np.sqrt(sum(variances)) / 2, df))


def test_collapsed_runs_are_counted_and_left_out_in_pairs() -> None:
    first, second = draw(2, 80.0, 80.5)
    first[:4], second[2:6] = 3.0, 5.0
    (task,) = group_tasks(build_confirming({("stsb", "x"): first, ("stsb", "y"): second}), 2.0)
    assert (task.count_collapses("x").collapsed, task.count_collapses("y").collapsed) == (4, 4)
    kept = task.estimate("x", "y", without_collapses=True)
    assert kept is not None and kept.value == pytest.approx(np.mean(first[6:] - second[6:]))


def test_a_difference_and_equivalence_are_corrected_each_in_its_family() -> None:
    samples = [draw(seed, centre, 70.0) for seed, centre in enumerate((70.1, 70.9, 73.0, 70.4))]
    estimates, p, q = [], [], []
    for first, second in samples:
        difference = first - second
        estimates.append(Student(difference.mean(), scipy.stats.sem(difference), len(difference) - 1.0))
        p.append(scipy.stats.ttest_rel(first, second).pvalue)
        q.append(ttost_paired(first, second, -1.0, 1.0)[0])
    differs, equal = multipletests(p, method="holm")[0], multipletests(q, method="holm")[0]
    sides = ["better" if e.value > 0 else "worse" for e in estimates]
    expected = [
        f"{side}, by less than the margin" if a and b else side if a else "equivalent" if b else "undecided"
        for side, a, b in zip(sides, differs, equal, strict=True)
    ]
    assert decide(estimates, 1.0) == expected and len(set(expected)) > 1
    assert decide([None], 1.0) == ["undecided"]


def test_not_worse_is_judged_at_the_margin() -> None:
    certain = [Student(0.5, 0.1, 99), Student(-0.9, 0.3, 99), Student(-3.0, 0.3, 99), None]
    assert judge_estimates(certain, 1.0, "not worse") == ["confirmed", "undecided", "contradicted", "undecided"]
    # three tests at once: the third is corrected by 1, the first by 3
    p = scipy.stats.t.sf((0.0 + 1.0) / 0.45, 99)
    assert 0.025 / 3 < p < 0.025
    alone, among = (
        judge_estimates([Student(0.0, 0.45, 99)], 1.0, "not worse"),
        judge_estimates([Student(0.0, 0.45, 99)] * 3, 1.0, "not worse"),
    )
    assert (alone, among) == (["confirmed"], ["undecided"] * 3)


@pytest.mark.parametrize(
    ("column", "value", "name"),
    [
        ("batch_size", 32, "rte, batches of 32"),
        ("budget", "5 epochs", "rte, 5 epochs"),
        ("suite", "other", "other/rte"),
    ],
)
def test_runs_of_a_task_that_differ_in_a_setting_are_no_replicates(column: str, value: object, name: str) -> None:
    """Two settings with the same seeds: each is a place of its own, and none of its runs is lost."""
    a, b, c, d = draw(3, 71.0, 70.0, 75.0, 70.0)
    first = build_confirming({("rte", "x"): a, ("rte", "y"): b})
    second = build_confirming({("rte", "x"): c, ("rte", "y"): d}).assign(**{column: value})
    tasks = group_tasks(pd.concat([first, second]), 2.0)
    assert [sum(map(len, task.scores.values())) for task in tasks] == [2 * 40, 2 * 40] and tasks[1].name == name
    found = contrast(tasks, "x", "y").all_runs
    assert found is not None and found.value == pytest.approx(((a - b).mean() + (c - d).mean()) / 2)


def test_a_task_without_spread_is_named() -> None:
    first, second = draw(4, 71.0, 70.0)
    scores = {("rte", "x"): first, ("rte", "y"): second, ("cola", "x"): np.zeros(40), ("cola", "y"): np.zeros(40)}
    found = contrast(group_tasks(build_confirming(scores), 2.0), "x", "y")
    assert found.all_runs is None and found.tasks == ("rte", "cola") and found.unknown == ("cola",)
