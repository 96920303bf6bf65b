"""Kept predictions: lined up over cells, held against the recorded scores, refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef
from statsmodels.api import OLS

from harness.core.record import Record
from reports.statistics.analysis import analyse
from reports.statistics.comparisons import NEW_BOTH, NEW_SEEDS
from reports.statistics.evidence import sum_influences
from reports.statistics.examples import NoExamples, find_split, load_examples
from tests.reports.predicted import guesses, kept


def _load(records: list[Record], folder: Path, metrics: tuple[str, ...] = ("accuracy",)) -> Any:
    return load_examples(records, metrics, {r.key: r.scores["accuracy"] for r in records}, folder)


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 200)
    return [kept(tmp_path, guesses(rng, targets, 0.8), targets, seed=s) for s in range(3)]


def _error(examples: Any, cell: int = 0) -> float:
    return float(np.sqrt(np.sum(sum_influences(examples)[:, cell] ** 2)))


def test_the_error_of_an_accuracy_is_the_binomial_one(tmp_path: Path, records: list[Record]) -> None:
    examples = _load(records, tmp_path)
    share = records[1].scores["accuracy"] / 100
    assert examples.groups == 200
    assert _error(examples, 1) == pytest.approx(100 * np.sqrt(share * (1 - share) / 199))


def test_spearman_spread_is_that_of_scipys_bootstrap(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.round(rng.uniform(0, 5, 120), 1)
    p = y + rng.normal(0, 2, 120)
    made = kept(tmp_path, p, y, score=100 * stats.spearmanr(p, y).statistic)
    examples = _load([made], tmp_path, ("spearman",))
    expected = stats.bootstrap(
        (p, y), lambda a, b: stats.spearmanr(a, b).statistic, paired=True, vectorized=False, rng=0, n_resamples=1000
    )
    assert _error(examples) == pytest.approx(100 * expected.standard_error, rel=0.1)


def compute_f1(y: Any, p: Any, axis: int = -1) -> Any:
    """F1 of 0 and 1 along an axis."""
    return 2 * (y * p).sum(axis) / (y.sum(axis) + p.sum(axis))


def correlate(y: Any, p: Any, axis: int = -1) -> Any:
    """Pearson's correlation along an axis; of 0 and 1 it is Matthews'."""
    y, p = (values - values.mean(axis, keepdims=True) for values in (y, p))
    return (y * p).sum(axis) / np.sqrt((y * y).sum(axis) * (p * p).sum(axis))


@pytest.mark.parametrize("metric", ["f1", "matthews_correlation", "pearson"])
def test_errors_are_those_of_scipys_bootstrap(tmp_path: Path, metric: str) -> None:
    rng = np.random.default_rng(1)
    y: Any = rng.integers(0, 2, 300) if metric != "pearson" else rng.normal(0, 1, 300)
    p: Any = guesses(rng, y, 0.75) if metric != "pearson" else y + rng.normal(0, 0.7, 300)
    one_sample: Any = {
        "f1": f1_score,
        "matthews_correlation": matthews_corrcoef,
        "pearson": lambda a, b: stats.pearsonr(a, b).statistic,
    }[metric]
    score = one_sample(y, p)
    # of all resamples at once: scikit-learn takes milliseconds for each
    reference = compute_f1 if metric == "f1" else correlate
    assert reference(y, p) == pytest.approx(score, rel=1e-12)
    made = kept(tmp_path, p, y, score=100 * score)
    expected = stats.bootstrap((y, p), reference, paired=True, vectorized=True, rng=0, n_resamples=1000)
    assert _error(_load([made], tmp_path, (metric,))) == pytest.approx(100 * expected.standard_error, rel=0.08)


def test_whole_subjects_are_drawn(tmp_path: Path) -> None:
    """Answers that are the same within a subject have the spread of so many subjects, not of all questions."""
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(20) < 0.6, 25)
    ids = [f"subject{i // 25}/{i % 25}" for i in range(500)]
    made = kept(tmp_path, right.astype(int), np.ones(500, dtype=int), ids=ids)
    examples = _load([made], tmp_path)
    share = right.mean()
    assert examples.groups == 20
    fit = OLS(100.0 * right, np.ones(500)).fit(cov_type="cluster", cov_kwds={"groups": np.repeat(range(20), 25)})
    assert _error(examples) == pytest.approx(100 * np.sqrt(share * (1 - share) / 19))
    assert _error(examples) == pytest.approx(fit.bse[0], rel=0.01)


def test_scores_that_the_predictions_do_not_give_are_refused(tmp_path: Path, records: list[Record]) -> None:
    with pytest.raises(NoExamples, match="do not give the recorded scores"):
        load_examples(records, ("accuracy",), {r.key: 50.0 for r in records}, tmp_path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [("order", "same examples"), ("twice", "comes twice"), ("gone", "does not read"), ("targets", "same examples")],
)
def test_what_cannot_be_lined_up_is_refused(tmp_path: Path, records: list[Record], damage: str, says: str) -> None:
    damaged = records[-1 if damage == "targets" else 0]  # the first is also held against its own score
    path = tmp_path / f"{damaged.key}.parquet"
    frame = pd.read_parquet(path)
    if damage == "gone":
        path.unlink()
    else:
        changed = {
            "order": frame[::-1],
            "twice": frame.assign(id="validation/0"),
            "targets": frame.assign(target=1 - frame.target),
        }
        changed[damage].to_parquet(path, index=False)
    with pytest.raises(NoExamples, match=says):
        _load(records, tmp_path)


def test_no_predictions(tmp_path: Path, records: list[Record]) -> None:
    with pytest.raises(NoExamples, match="no predictions were kept"):
        _load([records[0].model_copy(update={"predictions": None})], tmp_path)


def test_predictions_of_some_methods_serve_their_own_comparisons(tmp_path: Path) -> None:
    """The comparison of two methods that kept theirs is the same; one that did not generalizes to new seeds only."""
    rng = np.random.default_rng(5)
    targets = rng.integers(0, 2, 200)
    skills = {"lora": 0.8, "lorasp": 0.85, "head": 0.6}
    records = [
        kept(tmp_path, guesses(rng, targets, skill), targets, method=method, seed=seed)
        for method, skill in skills.items()
        for seed in range(4)
    ]
    fewer = [r if r.cell.method != "head" else r.model_copy(update={"predictions": None}) for r in records]
    whole, part = (
        {(j.comparison.method, j.comparison.first): j.comparison for j in analyse(made, [], cells=tmp_path).judged}
        for made in (records, fewer)
    )
    assert part["lorasp", "lora"].estimate == whole["lorasp", "lora"].estimate
    assert part["lorasp", "lora"].target == NEW_BOTH == whole["head", "lora"].target
    assert part["head", "lora"].target == NEW_SEEDS and "no predictions were kept" in part["head", "lora"].why
    scores = np.array([r.scores["accuracy"] for r in records]).reshape(3, 4)
    gaps = scores[2] - scores[0]
    interval = stats.ttest_1samp(gaps, 0).confidence_interval()
    estimate = part["head", "lora"].estimate
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))


def test_a_metric_finds_its_split() -> None:
    splits = ("validation_matched", "validation_mismatched")
    assert find_split("accuracy_matched", splits) == ("accuracy", "validation_matched")
    assert find_split("f1", ("validation",)) == ("f1", "validation")
    with pytest.raises(NoExamples, match="no weighted form"):
        find_split("bleu", ("test",))
    for metric in ("accuracy", "f1_micro"):
        with pytest.raises(NoExamples, match="no score of a metric"):
            find_split(metric, splits)
