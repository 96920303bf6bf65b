"""The group of the best holds the truly best method in 95 % of simulated studies, and leaves clear losers out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.statistics.analysis import analyse
from reports.statistics.answers import describe_best_group
from reports.statistics.best_group import BestGroup, find_best_group
from reports.statistics.student import estimate_mean
from tests.reports.predicted import guesses, kept
from tests.reports.records import cell, grid_of, record

TASKS = ("cola", "rte")


def simulate(truth: list[float], seeds: int, studies: int = 4000) -> np.ndarray:
    """Which methods are in the group [studies, methods]: scores paired by seed, by the rule written out with numpy."""
    rng = np.random.default_rng(0)
    methods = len(truth)
    shared = rng.normal(0, 2, (studies, 1, seeds))
    scores = np.array(truth)[None, :, None] + shared + rng.normal(0, 1, (studies, methods, seeds))
    best = scores.mean(axis=2).argmax(axis=1)
    below = scores - scores[np.arange(studies), best][:, None, :]
    with np.errstate(invalid="ignore"):
        t = below.mean(axis=2) / (below.std(axis=2, ddof=1) / np.sqrt(seeds))
    p = stats.t.cdf(np.nan_to_num(t), seeds - 1)
    return np.asarray(p >= 0.05 / (methods - 1))


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(
    "truth",
    [[0.0, 0.0], [0.0] * 5, [0.0] * 14, [0.0, -0.5, -1.0, -2.0, -8.0], [0.0, -0.05, *[-1.0] * 12]],
    ids=["2 equal", "5 equal", "14 equal", "5 apart", "14 apart"],
)
def test_the_truly_best_is_in_the_group(truth: list[float], seeds: int) -> None:
    covered = simulate(truth, seeds)[:, 0].mean()
    assert covered >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 4000)


def test_clear_losers_are_left_out() -> None:
    assert simulate([0.0, -0.5, -1.0, -2.0, -8.0], 10)[:, 4].mean() < 0.01


def test_the_simulated_rule_is_that_of_the_report() -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        scores = rng.normal([[0.0], [-0.5], [-1.0], [-3.0]], 1, (4, 6))
        best = int(scores.mean(axis=1).argmax())
        means = {str(i): float(row.mean()) for i, row in enumerate(scores)}
        below = {str(i): estimate_mean((row - scores[best]).tolist()) for i, row in enumerate(scores) if i != best}
        group = find_best_group(means, below)
        expected = {
            str(i)
            for i, row in enumerate(scores)
            if i == best or stats.ttest_rel(row, scores[best], alternative="less").pvalue >= 0.05 / 3
        }
        assert group is not None and group.members == expected and group.best == str(best)


def test_without_an_interval_nobody_is_left_out() -> None:
    group = find_best_group({"a": 60.0, "b": 90.0}, {"a": None})
    assert group == BestGroup("b", frozenset({"a", "b"})) and find_best_group({}, {}) is None


def test_the_group_goes_by_the_estimates_of_the_comparisons(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With stored predictions new examples count: the same seeds then show less."""
    folder = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 60)
    base = guesses(rng, targets, 0.7)
    better = np.where((base != targets) & (rng.random(60) < 0.15), targets, base)
    records = []
    for seed in range(6):
        for method, said in (("lora", base), ("full", better), ("head", better)):
            one = said.copy()
            flip = rng.integers(0, 60, 2)
            one[flip] = 1 - one[flip]
            records.append(kept(folder, one, targets, method=method, seed=seed))
    for cells in (None, folder):
        analysis = analyse(records, [], cells=cells)
        group = analysis.best["glue"]
        assert group is not None
        comparisons = {j.comparison.method: j.comparison.estimate for j in analysis.judged if not j.comparison.whole}
        lora = comparisons[group.best]
        assert lora is not None
        assert ("lora" in group.members) == (lora.p_above(0.0) >= 0.05 / 2)


def test_rows_of_the_ranking_are_marked() -> None:
    rng = np.random.default_rng(0)
    truth = {"lora": 70.0, "full": 70.1, "head": 50.0}
    scores = {(t, m): (mean + rng.normal(0, 0.5, 5)).tolist() for t in TASKS for m, mean in truth.items()}
    records = [*grid_of(scores), *(record(None, cell(t, "broken", s)) for t in TASKS for s in range(5))]
    (ranking,) = analyse(records, []).rankings
    assert {row.method: row.is_tied for row in ranking.rows} == {
        "lora": True,
        "full": True,
        "head": False,
        "broken": False,
    }


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        (["full"], "full has the highest mean, and all others are shown to be worse."),
        (["full", "lora"], "full has the highest mean; not shown to be worse: lora."),
        (["full", "lora", "head", "dora"], "full has the highest mean; not shown to be worse: lora, head and dora."),
        (["full", "lora", "head", "dora", "ia3"], "full has the highest mean; not shown to be worse: 4 methods."),
    ],
)
def test_sentences(members: list[str], sentence: str) -> None:
    methods = ["full", "lora", "head", "dora", "ia3"]
    assert describe_best_group(BestGroup("full", frozenset(members)), methods) == sentence


def test_one_method_is_tied_with_nobody() -> None:
    assert describe_best_group(BestGroup("full", frozenset({"full"})), ["full"]) == ""
