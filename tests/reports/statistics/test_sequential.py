"""Tests under repeated looks against published boundaries, scipy's multivariate normal and simulated studies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.core.looks import Looks
from reports.statistics.sequential import (
    compute_nominal_levels,
    compute_sequential_interval,
    compute_sequential_p,
    tabulate_levels,
)
from reports.statistics.student import Student

COUNTS = Looks().counts


def test_boundaries_are_the_published_ones() -> None:
    """Lan and DeMets' function like Pocock's, 5 equal looks, two-sided 5 %: Jennison and Turnbull 2000."""
    z = stats.norm.isf(np.array(compute_nominal_levels((1, 2, 3, 4, 5), 0.05)) / 2)
    assert z == pytest.approx([2.438, 2.427, 2.410, 2.397, 2.386], abs=0.001)


def test_one_look_is_an_ordinary_test() -> None:
    assert compute_nominal_levels((7,), 0.05) == pytest.approx((0.05,))
    assert compute_sequential_p((7,), 0, 0.0123) == pytest.approx(0.0123, rel=1e-3)
    estimate = Student(1.0, 0.5, 6.0)
    assert compute_sequential_interval((7,), 0, estimate) == pytest.approx(stats.t.interval(0.95, 6, 1.0, 0.5))


def test_all_looks_together_have_the_level() -> None:
    counts = (5, 9, 20)
    z = stats.norm.isf(np.array(compute_nominal_levels(counts, 0.05)) / 2)
    # the correlation of two means of the same values is the root of the ratio of their numbers
    correlation = [[np.sqrt(min(a, b) / max(a, b)) for a in counts] for b in counts]
    inside = stats.multivariate_normal(np.zeros(3), correlation).cdf(z, lower_limit=-z)
    assert inside == pytest.approx(0.95, abs=1e-4)


def test_a_stricter_level_has_stricter_looks() -> None:
    """So Holm's correction of sequential p is what a test at the corrected level decides."""
    for looks in (Looks(), Looks(3, 10), Looks(5, 1000)):
        _, nominal = tabulate_levels(looks.counts)
        assert (np.diff(nominal, axis=1) > 0).all()


@pytest.mark.parametrize("level", [0.0125, 0.05, 0.1])
def test_sequential_p_is_the_level_whose_look_rejects(level: float) -> None:
    for look, nominal in enumerate(compute_nominal_levels(COUNTS, level)):
        assert compute_sequential_p(COUNTS, look, nominal) == pytest.approx(level, rel=2e-3)


def test_sequential_p_of_extremes() -> None:
    assert compute_sequential_p(COUNTS, 3, 1.0) == 1.0
    assert 0 < compute_sequential_p(COUNTS, 3, 0.0) <= 1e-8


def test_intervals_of_all_looks_together_cover() -> None:
    """t-tests of few normal values at the nominal levels of normal ones: 20,000 studies with a true mean of 0."""
    values = np.random.default_rng(0).standard_normal((20_000, COUNTS[-1]))
    rejected = np.zeros(len(values), dtype=bool)
    for count, nominal in zip(COUNTS, compute_nominal_levels(COUNTS, 0.05), strict=True):
        rejected |= stats.ttest_1samp(values[:, :count], 0.0, axis=1).pvalue < nominal
    # three standard errors of a share of 5 % are 0.5 %; the t-tests exceed the level by 0.3 % at most
    assert rejected.mean() < 0.058
