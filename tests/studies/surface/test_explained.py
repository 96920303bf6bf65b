"""Shares of a difference, against scipy, statsmodels, and their coverage on made-up scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.stats
from statsmodels.stats.multitest import multipletests

from studies.rules.halves import judge_shares
from studies.surface.contrasts import TaskRuns, group_tasks
from studies.surface.explained import explain
from tests.studies.surface.test_contrasts import build_confirming

TOTAL = ("lorasp", "lora")


def draw_scores(seed: int, share: float, tasks: int = 1, total: float = 3.0, n: int = 60) -> pd.DataFrame:
    """Scores of lora, of lorasp, which is `total` better, and of a control with `share` of that; a common part a seed.

    The second task has twice the spread.
    """
    generator = np.random.default_rng(seed)
    scores = {}
    for task in range(tasks):
        common = generator.normal(70.0, 3.0, n)
        for method, gain in (("lora", 0.0), ("lorasp", total), ("control", share * total)):
            scores[f"task {task}", method] = common + gain + generator.normal(0.0, 2.0 * (1 + task), n)
    return build_confirming(scores)


def group(frame: pd.DataFrame) -> list[TaskRuns]:
    return group_tasks(frame, 2.0)


def test_the_bounds_of_a_share_are_where_a_t_test_has_p_of_5_percent() -> None:
    frame = draw_scores(0, 0.4)
    found = explain(group(frame), TOTAL, ("control", "lora"))
    wide = frame.pivot(index="seed", columns="method", values="score")
    total, explained = (wide["lorasp"] - wide["lora"]).to_numpy(), (wide["control"] - wide["lora"]).to_numpy()
    assert found.share is not None
    value, low, high = found.share
    assert value == pytest.approx(explained.mean() / total.mean())

    def excess(share: float) -> float:
        return float(scipy.stats.ttest_1samp(explained - share * total, 0.0).pvalue) - 0.05

    assert low == pytest.approx(scipy.optimize.brentq(excess, value - 3, value), abs=1e-6)
    assert high == pytest.approx(scipy.optimize.brentq(excess, value, value + 3), abs=1e-6)


@pytest.mark.slow
def test_over_tasks_the_share_is_that_of_the_means_and_covers_the_truth() -> None:
    inside = []
    for seed in range(300):
        found = explain(group(draw_scores(seed, 0.4, tasks=2)), TOTAL, ("control", "lora"))
        assert found.share is not None
        inside.append(found.share[1] <= 0.4 <= found.share[2])
    # 95 % of 300 with a standard error of 1.3 %
    assert 0.91 < np.mean(inside) < 0.99


def test_a_total_that_is_not_significant_has_no_shares() -> None:
    found = explain(group(draw_scores(1, 0.4, total=0.1)), TOTAL, ("control", "lora"))
    assert found.total is not None and found.total.p > 0.05
    assert found.share is None and judge_shares([found], 0.5) == ["undecided"]


def test_an_explanation_by_itself_is_all_of_it() -> None:
    assert explain(group(draw_scores(2, 0.4)), TOTAL, TOTAL).share == pytest.approx((1.0, 1.0, 1.0))


def test_more_than_half_is_a_one_sided_test_of_a_holm_family() -> None:
    frames = [draw_scores(seed, share) for seed, share in enumerate((1.0, 0.0, 0.45, 0.85))]
    found = [explain(group(frame), TOTAL, ("control", "lora")) for frame in frames]
    more, less = [], []
    for frame in frames:
        wide = frame.pivot(index="seed", columns="method", values="score")
        rest = (wide["control"] - wide["lora"]) - 0.5 * (wide["lorasp"] - wide["lora"])
        more.append(scipy.stats.ttest_1samp(rest, 0.0, alternative="greater").pvalue)
        less.append(scipy.stats.ttest_1samp(rest, 0.0, alternative="less").pvalue)
    above, below = (multipletests(p, alpha=0.025, method="holm")[0] for p in (more, less))
    expected = ["confirmed" if a else "contradicted" if b else "undecided" for a, b in zip(above, below, strict=True)]
    assert judge_shares(found, 0.5) == expected and len(set(expected)) == 3


def test_a_negative_total_explains_nothing() -> None:
    found = explain(group(draw_scores(3, 0.1, total=-4.0)), TOTAL, ("control", "lora"))
    assert found.share is not None and judge_shares([found], 0.5) == ["undecided"]


def test_collapsed_runs_are_left_out_or_counted() -> None:
    frame = draw_scores(4, 0.4)
    frame.loc[(frame["method"] == "lora") & (frame["seed"] < 106), "score"] = 1.0
    frame.loc[(frame["method"] == "control") & (frame["seed"] < 103), "score"] = 1.0
    tasks = group(frame)
    kept = explain(tasks, TOTAL, ("control", "lora"), "score without collapsed runs")
    rest = frame[frame["seed"] >= 106].pivot(index="seed", columns="method", values="score")
    assert kept.difference is not None
    assert kept.difference.value == pytest.approx((rest["control"] - rest["lora"]).mean())
    rates = explain(tasks, TOTAL, ("control", "lora"), "collapsed")
    assert rates.total is not None and rates.difference is not None and rates.share is not None
    assert (rates.total.value, rates.difference.value) == pytest.approx((-100 * 6 / 60, -100 * 3 / 60))
    assert rates.share[0] == pytest.approx(0.5)


def test_a_method_without_runs_gives_no_estimate() -> None:
    tasks = group(draw_scores(5, 0.4))
    assert explain(tasks, TOTAL, ("other", "lora")).pairings == ()
