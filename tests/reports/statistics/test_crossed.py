"""Seeds x examples against the two-way analysis of variance, and its coverage of a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.statistics.crossed import CrossedEstimate, estimate_crossed, estimate_example_variance


def _crossed(table: np.ndarray) -> CrossedEstimate:
    """Of differences [seeds, examples] of an additive score."""
    n = table.shape[1]
    influences = (table - table.mean(axis=1, keepdims=True)).T / n * np.sqrt(n / (n - 1))
    found = estimate_crossed(table.mean(axis=1).tolist(), estimate_example_variance(influences), n)
    assert found is not None
    return found


def _table(rng: np.random.Generator, seeds: int, sds: tuple[float, float, float], n: int = 80) -> np.ndarray:
    """True difference 0, with effects of seed, example and both."""
    return rng.normal(0, sds[0], (seeds, 1)) + rng.normal(0, sds[1], (1, n)) + rng.normal(0, sds[2], (seeds, n))


@pytest.mark.parametrize("seed", range(4))
def test_variances_are_those_of_the_analysis_of_variance(seed: int) -> None:
    table = _table(np.random.default_rng(seed), 5, (2.0, 6.0, 6.0))
    found = _crossed(table)
    seeds, n = table.shape
    of_seeds, of_examples = table.mean(axis=1).var(ddof=1) / seeds, table.mean(axis=0).var(ddof=1) / n
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    interaction = (rest**2).sum() / ((seeds - 1) * (n - 1)) / table.size
    assert found.seeds.se**2 == pytest.approx(of_seeds, rel=1e-9)
    assert found.examples is not None and found.examples.se**2 == pytest.approx(of_examples, rel=1e-9)
    assert found.both.se**2 == pytest.approx(max(of_examples, of_seeds + of_examples - interaction), rel=1e-9)
    assert found.noise.seed_variance == pytest.approx(seeds * of_seeds)


def test_the_seeds_alone_are_the_paired_t_test() -> None:
    table = _table(np.random.default_rng(1), 4, (1.0, 3.0, 3.0))
    found = _crossed(table).seeds
    expected = stats.ttest_1samp(table.mean(axis=1), 0).confidence_interval()
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_both_is_never_surer_than_either() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = _crossed(_table(rng, 3, (0.3, 2.0, 6.0)))
        assert found.examples is not None and found.both.se >= max(found.seeds.se, found.examples.se) - 1e-12


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("sds", [(0.3, 2.0, 6.0), (1.0, 1.0, 0.5), (0.0, 1.0, 10.0), (0.8, 6.0, 6.0)])
def test_new_examples_too_make_no_interval_narrower(seeds: int, sds: tuple[float, float, float]) -> None:
    for number in range(25):
        rng = np.random.default_rng(number)
        found = _crossed(_table(rng, seeds, sds))
        assert found.both.half >= found.seeds.half - 1e-6


def test_nothing_from_one_seed_or_no_spread() -> None:
    assert estimate_crossed([1.0], estimate_example_variance(np.ones((10, 1))), 50) is None
    assert estimate_crossed([1.0, 1.0], estimate_example_variance(np.ones((10, 2))), 50) is None


def test_it_is_the_limit_of_the_bootstrap_of_seeds_and_examples() -> None:
    """Owen's pigeonhole bootstrap with 40,000 draws, its variances multiplied by n / (n - 1)."""
    rng = np.random.default_rng(0)
    table = _table(rng, 6, (2.0, 5.0, 8.0))
    seeds, n = table.shape
    drawn = [rng.multinomial(size, np.full(size, 1 / size), 40_000) / size for size in (seeds, n)]
    at_once = np.var(np.einsum("ds,sn,dn->d", drawn[0], table, drawn[1], optimize=True))
    held = np.var(drawn[1] @ table.mean(axis=0))
    of_seeds = table.mean(axis=1).var() / seeds
    found = _crossed(table)
    twice = (at_once - held - of_seeds) * seeds / (seeds - 1)
    total = found.seeds.se**2 + held * n / (n - 1) - twice
    assert found.examples is not None
    least = max(found.seeds.se**2, found.examples.se**2)
    assert found.both.se**2 == pytest.approx(max(total, least), rel=0.02)


def _coverage(seeds: int, sds: tuple[float, float, float], repeats: int) -> float:
    rng = np.random.default_rng(seeds)
    both = [_crossed(_table(rng, seeds, sds)).both for _ in range(repeats)]
    return float(np.mean([one.low <= 0 <= one.high for one in both]))


SEEDS_RULE, EXAMPLES_RULE, EVEN, NOISE = (1.0, 1.0, 0.5), (0.03, 8.0, 1.0), (0.8, 6.0, 6.0), (0.0, 1.0, 10.0)


def test_coverage_of_three_seeds() -> None:
    assert 0.92 < _coverage(3, SEEDS_RULE, 400) < 0.98  # three standard errors of 400 repeats about 95 %


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("sds", [SEEDS_RULE, EXAMPLES_RULE, EVEN])
def test_coverage(seeds: int, sds: tuple[float, float, float]) -> None:
    """Where neither seeds nor examples rule it is wider than asked, the more the fewer seeds: docs/statistics.md."""
    found = _coverage(seeds, sds, 3000)
    assert 0.935 < found < (0.985 if sds == EVEN else 0.97)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_coverage_where_only_seed_and_example_together_matter(seeds: int) -> None:
    """Wider than asked, because `both` is never below either part; it errs on the safe side."""
    found = _coverage(seeds, NOISE, 3000)
    assert 0.94 < found < 0.999
