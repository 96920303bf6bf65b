"""Collapses as an outcome: paired tests by statsmodels, means by numpy, and tasks that dominate a mean."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from reports.findings import build_findings
from reports.statistics.analysis import analyse
from reports.statistics.stability import Domination, compute_variance_shares, describe_dominations
from tests.reports.records import grid_of

TASKS = ("rte", "stsb")
GOOD = [84.0, 83.1, 84.6, 83.8, 84.2, 83.5, 84.1, 83.9]


def scores(lora: dict[int, float], lorasp: dict[int, float]) -> dict[tuple[str, str], list[float | None]]:
    """lora and lorasp on two tasks; on stsb some seeds end elsewhere."""
    rng = np.random.default_rng(0)
    made: dict[tuple[str, str], list[float | None]] = {}
    for task in TASKS:
        for method in ("lora", "lorasp"):
            made[task, method] = (np.array(GOOD) + rng.normal(0, 0.3, 8)).tolist()
    for method, bad in (("lora", lora), ("lorasp", lorasp)):
        for seed, value in bad.items():
            made["stsb", method][seed] = value
    return made


def test_rates_and_the_paired_test_are_those_of_statsmodels() -> None:
    found = analyse(grid_of(scores({0: 50.0, 1: 51.0}, {0: 50.5, 2: 50.0, 3: 51.0, 4: 49.0, 5: 50.0}), TASKS), [])
    rows = {(r["task"], r["method"]): r for r in found.rows["stability"]}
    row = rows["stsb", "lorasp"]
    assert (row["collapsed"], row["runs"], row["only_method_collapsed"], row["only_baseline_collapsed"]) == (5, 8, 4, 1)
    assert row["mcnemar_p"] == pytest.approx(mcnemar([[1, 4], [1, 2]], exact=True).pvalue)
    assert (row["rate_low"], row["rate_high"]) == pytest.approx(proportion_confint(5, 8, method="wilson"))
    assert rows["stsb", "lora"]["mcnemar_p"] is None and rows["rte", "lorasp"]["mcnemar_p"] == 1.0
    assert len(found.stability) == 4


def test_means_with_and_without_collapsed_runs_stand_side_by_side() -> None:
    made = scores({}, {0: 50.0, 3: 51.0})
    analysis = analyse(grid_of(made, TASKS), [])
    rows = {(r["task"], r["method"]): r for r in analysis.rows["stability"]}
    values = [v for v in made["stsb", "lorasp"] if v is not None]
    survivors = [v for i, v in enumerate(values) if i not in (0, 3)]
    assert rows["stsb", "lorasp"]["mean"] == pytest.approx(np.mean(values))
    assert rows["stsb", "lorasp"]["mean_without_collapsed"] == pytest.approx(np.mean(survivors))
    ranking = {row.method: row for row in analysis.rankings[0].rows}
    own = ranking["lorasp"]
    rte = [v for v in made["rte", "lorasp"] if v is not None]
    assert own.mean_without_collapsed is not None
    assert own.mean_without_collapsed.mean == pytest.approx((np.mean(survivors) + np.mean(rte)) / 2)
    assert (own.collapsed, own.runs) == (2, 16) and ranking["lora"].mean == ranking["lora"].mean_without_collapsed
    se = np.sqrt(np.var(survivors, ddof=1) / 6 + np.var(rte, ddof=1) / 8) / 2
    assert own.mean_without_collapsed.interval is not None
    assert own.mean_without_collapsed.interval.se == pytest.approx(se)


def test_a_method_without_any_surviving_run_of_a_task_has_no_such_mean() -> None:
    made = scores({}, dict.fromkeys(range(8), 50.0))
    ranking = {row.method: row for row in analyse(grid_of(made, TASKS), []).rankings[0].rows}
    assert ranking["lorasp"].mean is not None and ranking["lorasp"].mean_without_collapsed is None


def test_shares_of_the_variance_add_up_and_are_numpys() -> None:
    values = np.random.default_rng(0).normal(0, [[1], [2], [5]], (3, 10))
    gaps = [{(("seed", i),): float(v) for i, v in enumerate(row)} for row in values]
    shares = compute_variance_shares(gaps)
    mean = values.mean(axis=0)
    expected = [np.cov(row / 3, mean)[0, 1] / np.var(mean, ddof=1) for row in values]
    assert shares == pytest.approx(expected) and sum(shares) == pytest.approx(1)
    assert compute_variance_shares([{(("seed", 0),): 1.0}]) == [0.0]
    assert compute_variance_shares([{(("seed", i),): 1.0 for i in range(3)}]) == [0.0]


@pytest.mark.parametrize(("bad", "dominates"), [({0: 50.0, 3: 40.0}, True), ({}, False)])
def test_a_task_whose_collapses_dominate_the_mean_is_named(bad: dict[int, float], dominates: bool) -> None:
    analysis = analyse(grid_of(scores({}, bad), TASKS), [])
    sentence = "Collapsed runs dominate the mean: stsb makes up "
    found = build_findings(analysis)
    stability = next(notes for title, _, notes, *_ in found.tables if title == "Stability")
    for lines in (found.sentences, stability, analysis.rankings[0].caveats):
        assert any(line.startswith(sentence) for line in lines) == dominates


def test_noise_without_collapses_does_not_dominate() -> None:
    """stsb has nearly all of the variance, but no run of it collapsed."""
    rng = np.random.default_rng(0)
    made = {(t, m): (80 + rng.normal(0, sd, 8)).tolist() for t, sd in (("rte", 0.1), ("stsb", 3)) for m in ("a", "b")}
    assert analyse(grid_of(made, TASKS), []).dominations["glue"] == []


def test_sentences_name_the_task_the_share_and_the_methods() -> None:
    found = [Domination("ia3", "lora", "stsb", 0.91), Domination("vera", "lora", "stsb", 1.02)]
    assert describe_dominations(found) == [
        "Collapsed runs dominate the mean: stsb makes up 91 to 100 % of the variance of the difference to lora "
        "(ia3, vera)."
    ]
    assert "makes up 91 % of" in describe_dominations(found[:1])[0] and describe_dominations([]) == []
