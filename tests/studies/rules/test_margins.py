"""A verdict at a margin, against the intervals that it must agree with, and its error rate where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.statistics.student import Student, estimate_mean
from studies.rules.margins import Sense, judge_estimates


@pytest.mark.parametrize(
    ("value", "sense", "kind"),
    [
        (0.0, "not worse", "confirmed"),
        (5.0, "not worse", "confirmed"),
        (-3.0, "not worse", "contradicted"),
        (-1.0, "not worse", "undecided"),
        (0.0, "equal", "confirmed"),
        (3.0, "equal", "contradicted"),
        (-3.0, "equal", "contradicted"),
        (0.9, "equal", "undecided"),
        (-5.0, "not better", "confirmed"),
        (3.0, "not better", "contradicted"),
        (1.2, "not better", "undecided"),
    ],
)
def test_known_truth(value: float, sense: Sense, kind: str) -> None:
    assert judge_estimates([Student(value, 0.2, 4)], 1.0, sense) == [kind]


def test_a_wide_interval_around_zero_confirms_nothing() -> None:
    estimate = Student(0.0, 3.0, 4)
    assert estimate.p == 1.0
    senses: tuple[Sense, ...] = ("equal", "not worse", "not better")
    assert [judge_estimates([estimate], 1.0, sense) for sense in senses] == [["undecided"]] * 3


def test_no_estimate_is_undecided_and_not_counted() -> None:
    assert judge_estimates([None, Student(0.0, 0.3, 4)], 1.0, "not worse") == ["undecided", "confirmed"]


def test_agrees_with_the_ends_of_the_interval() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = rng.normal(-1.0, 1.0, 5)
        low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
        wanted = "confirmed" if low > -1 else "contradicted" if high < -1 else "undecided"
        assert judge_estimates([estimate_mean(values.tolist())], 1.0, "not worse") == [wanted]


def test_many_rows_make_each_harder() -> None:
    alone = Student(-0.4, 0.2, 4)  # one-sided p = 0.02
    assert judge_estimates([alone], 1.0, "not worse") == ["confirmed"]
    assert judge_estimates([alone, *[Student(-0.9, 0.2, 4)] * 9], 1.0, "not worse")[0] == "undecided"


def test_false_verdicts_are_rare_at_the_margin() -> None:
    rng = np.random.default_rng(1)
    kinds = [
        judge_estimates([estimate_mean(rng.normal(-1.0, 1.0, 5).tolist())], 1.0, "not worse")[0] for _ in range(1000)
    ]
    for kind in ("confirmed", "contradicted"):
        assert 0.012 < kinds.count(kind) / 1000 < 0.04
