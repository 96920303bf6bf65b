"""Interquartile mean within tasks, probability of improvement and profiles; coverage of their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.statistics.aggregates import (
    compute_iqm,
    compute_iqm_difference,
    compute_trimmed_mean,
    estimate_improvement,
)
from reports.statistics.bootstrap import create_generator, draw_counts
from reports.statistics.curves import compute_profiles

RNG = np.random.default_rng(3)
FIRST = RNG.normal([[60.0], [80.0], [70.0]], 2, (3, 5)).tolist()
METHOD = (np.array(FIRST) + RNG.normal(1, 1, (3, 5))).tolist()


def test_values_are_scipys() -> None:
    trimmed = [np.mean([stats.trim_mean(runs, 0.25) for runs in x]) for x in (METHOD, FIRST)]
    assert compute_iqm(METHOD).value == pytest.approx(trimmed[0])
    assert compute_iqm_difference(METHOD, FIRST).value == pytest.approx(trimmed[0] - trimmed[1])
    # rliable: Mann and Whitney's U over the number of pairs, mean over tasks
    wins = [stats.mannwhitneyu(x, y).statistic / 25 for x, y in zip(METHOD, FIRST, strict=True)]
    assert estimate_improvement(METHOD, FIRST).value == pytest.approx(np.mean(wins))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 10, 25])
def test_the_trimmed_mean_is_scipys(n: int) -> None:
    values = np.random.default_rng(n).normal(0, 1, n)
    assert compute_trimmed_mean(values.tolist()) == pytest.approx(stats.trim_mean(values, 0.25))


def test_bad_runs_are_trimmed_and_no_task_is() -> None:
    """Tasks of 20, 70 and 90 points: whatever its level, each counts by a third and loses its collapsed run."""
    shape = np.array([-1.0, 0.0, 0.0, 1.0])
    scores = [(level + shape).tolist() for level in (20.0, 70.0, 90.0)]
    assert compute_iqm(scores).value == pytest.approx(60.0)
    scores[0] = [-60.0, *scores[0][1:]]
    assert compute_iqm(scores).value == pytest.approx(60.0)
    higher = [scores[0], scores[1], [value + 6 for value in scores[2]]]
    assert compute_iqm_difference(higher, scores).value == pytest.approx(2.0)


def test_the_error_of_one_task_is_yuens() -> None:
    """scipy's trimmed t-test (Yuen 1974) of one sample against another without spread in common."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(70, 3, 12), rng.normal(71, 3, 12)
    one, two = compute_iqm([x.tolist()]).interval, compute_iqm([y.tolist()]).interval
    assert one is not None and two is not None and one.df == 5
    expected = stats.ttest_ind(x, y, equal_var=False, trim=0.25)
    assert (one.value - two.value) / np.hypot(one.se, two.se) == pytest.approx(expected.statistic)


def test_an_interquartile_mean_of_few_runs_is_a_mean() -> None:
    runs = [50.0, 53.0, 54.0]
    found = compute_iqm([runs]).interval
    assert found is not None and found.se == pytest.approx(stats.sem(runs)) and found.df == 2
    assert compute_iqm([[50.0]]).interval is None and compute_iqm([[50.0], runs]).interval is None


def test_a_constant_difference_has_no_interval() -> None:
    shifted = (np.array(FIRST) + 2.0).tolist()
    found = compute_iqm_difference(shifted, FIRST)
    assert found.value == pytest.approx(2.0) and found.interval is None


def test_ties_count_half_and_a_clean_sweep_has_no_interval() -> None:
    assert estimate_improvement([[1.0, 1.0]], [[1.0, 1.0]]).value == 0.5
    sweep = estimate_improvement([[3.0, 4.0, 5.0]], [[0.0, 1.0, 2.0]])
    assert sweep.value == 1.0 and sweep.interval is None


def test_the_error_of_a_probability_is_that_of_scipys_jackknife() -> None:
    """Seeds left out in pairs; the bootstrap of scipy agrees."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(0.5, 1, 40), rng.normal(0, 1, 40)
    found = estimate_improvement([x.tolist()], [y.tolist()]).interval
    expected = stats.bootstrap(
        (x, y),
        lambda a, b: stats.mannwhitneyu(a, b).statistic / len(a) ** 2,
        paired=True,
        vectorized=False,
        rng=0,
        n_resamples=1000,
    )
    assert found is not None and found.se == pytest.approx(expected.standard_error, rel=0.08)


def test_counts_are_draws_with_replacement() -> None:
    drawn = draw_counts(create_generator(5), 4000, 6)
    assert (drawn.sum(axis=1) == 6).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(6), abs=0.06)
    assert drawn[:, 0].var() == pytest.approx(5 / 6, abs=0.06)


def test_streams_are_reproducible_and_of_their_own() -> None:
    assert (draw_counts(create_generator(1, "a"), 3, 9) == draw_counts(create_generator(1, "a"), 3, 9)).all()
    assert (draw_counts(create_generator(1, "a"), 3, 9) != draw_counts(create_generator(1, "b"), 3, 9)).any()
    assert (draw_counts(create_generator(1, "a"), 3, 9) != draw_counts(create_generator(2, "a"), 3, 9)).any()


def test_profiles_are_shares_of_runs_above() -> None:
    frame = compute_profiles({"m": METHOD, "f": FIRST}, create_generator(0))
    for row in frame.iloc[::13].itertuples():
        scores = METHOD if row.method == "m" else FIRST
        assert row.share == pytest.approx(np.mean([np.mean(np.array(s) > row.score) for s in scores]))
        assert row.low <= row.share <= row.high
    assert frame[frame.method == "m"].share.is_monotonic_decreasing


def _coverage(runs: int, repeats: int) -> tuple[float, float, float]:
    """Of the intervals of the IQM, of a difference of two, and of the probability of improvement."""
    rng = np.random.default_rng(runs)
    mean, spread = rng.uniform(50, 90, (5, 1)), rng.uniform(0.5, 3, (5, 1))
    chance = stats.norm.cdf(0.6 / 2**0.5)
    hits = np.zeros(3)
    for _ in range(repeats):
        x, y = rng.normal(mean, spread, (5, runs)), rng.normal(mean + 0.6 * spread, spread, (5, runs))
        iqm, gap = compute_iqm(x.tolist()).interval, compute_iqm_difference(y.tolist(), x.tolist()).interval
        better = estimate_improvement(y.tolist(), x.tolist()).interval
        hits += [
            iqm is not None and iqm.low <= mean.mean() <= iqm.high,
            gap is not None and gap.low <= 0.6 * spread.mean() <= gap.high,
            better is None or better.low <= chance <= better.high,
        ]
    return tuple(hits / repeats)


def test_coverage_of_three_runs() -> None:
    assert all(0.90 < coverage < 0.999 for coverage in _coverage(3, 200))


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 5, 10])
def test_coverage(runs: int) -> None:
    """The figures of docs/statistics.md."""
    assert all(0.92 < coverage < 0.99 for coverage in _coverage(runs, 1500))
