"""Power and seeds needed against statsmodels, and against the integral that defines power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats
from statsmodels.stats.power import TTestPower

from reports.statistics.power import (
    Noise,
    PowerRequest,
    compute_detectable,
    compute_power,
    compute_power_ranges,
    compute_sd_factors,
    count_seeds_needed,
)
from reports.statistics.student import compute_cochran_df

REFERENCE = TTestPower()


def integrate_power(ratio: float, df: float) -> float:
    """P(|Z + ratio| > c s) over s, the estimated standard error over the true one: Z normal, df s^2 chi-square."""
    critical = stats.t.ppf(0.975, df)

    def density(s: float) -> float:
        rejected = stats.norm.sf(critical * s - ratio) + stats.norm.cdf(-critical * s - ratio)
        return float(rejected * stats.chi.pdf(s * math.sqrt(df), df) * math.sqrt(df))

    return float(integrate.quad(density, 0, math.inf, limit=200)[0])


@pytest.mark.parametrize(("ratio", "df"), [(14.7, 1.0), (7.8, 1.5), (12.4, 1.2), (2.8, 30.0)])
def test_power_where_the_noncentral_distribution_has_no_number(ratio: float, df: float) -> None:
    """scipy's noncentral t is NaN in the wrong tail near the first three."""
    assert compute_power(ratio, Noise(0.0, 1.0, df), 2) == pytest.approx(integrate_power(ratio, df), abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_minimum_detectable_effect(n: int) -> None:
    spread = 2.5
    effect = compute_detectable(spread / math.sqrt(n), n - 1)
    assert integrate_power(effect / spread * math.sqrt(n), n - 1) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("size", [0.2, 0.5, 1.0, 2.0, 5.0])
def test_seeds_needed(size: float) -> None:
    found = count_seeds_needed(-3.0 * size, Noise(9.0))
    assert found is not None and REFERENCE.power(size, found, 0.05) >= 0.8
    assert found == 2 or REFERENCE.power(size, found - 1, 0.05) < 0.8


def test_power_curve() -> None:
    counts = np.array([2, 3, 5, 10, 50, 1000])
    assert compute_power(1.5, Noise(4.0), counts) == pytest.approx(REFERENCE.power(0.75, counts, 0.05), abs=1e-6)
    assert compute_power(40.0, Noise(4.0), counts)[2:] == pytest.approx(1.0)


def test_seeds_do_not_help_against_too_few_examples() -> None:
    assert count_seeds_needed(1.0, Noise(1.0, floor=1.0, floor_df=276)) is None
    with_floor, without = (
        count_seeds_needed(1.0, Noise(1.0, floor=0.05, floor_df=276)),
        count_seeds_needed(1.0, Noise(1.0)),
    )
    assert with_floor is not None and without is not None and with_floor > without


def test_many_requests_at_once_have_the_fewest_seeds_of_each() -> None:
    """Every number of seeds is tried; a request without an effect has no seeds, whatever stands beside it."""
    rng = np.random.default_rng(0)
    requests = [PowerRequest(1.0, 9, Noise(10.0), 9)]
    for effect in rng.uniform(0.3, 4.0, 12):
        seed_variance, floor = float(rng.uniform(0.5, 20)), float(rng.uniform(0, 0.2))
        noise = Noise(seed_variance, floor, 400)
        requests.append(PowerRequest(math.sqrt(seed_variance / 10 + floor), 11.0, noise, 9, float(effect)))
    ranges = compute_power_ranges(requests)
    assert ranges[0][1] is None
    counts = np.arange(2, 1001)
    for request, (detectable, seeds) in zip(requests[1:], ranges[1:], strict=True):
        enough = counts[compute_power(request.effect, request.noise, counts) >= 0.8]
        assert seeds is not None and seeds.value == (int(enough[0]) if len(enough) else None)
        assert integrate_power(detectable.value / request.se, request.df) == pytest.approx(0.8, abs=1e-6)
        alone = compute_power_ranges([request])[0]
        assert alone[1] == seeds and alone[0].high == pytest.approx(detectable.high, rel=1e-9)


@pytest.mark.parametrize("df", [1, 2, 4, 9, 99])
def test_the_interval_of_a_standard_deviation_is_the_chi_square_one(df: int) -> None:
    low, high = compute_sd_factors(df)
    assert low == pytest.approx(math.sqrt(df / stats.chi2.ppf(0.975, df)))
    assert high == pytest.approx(math.sqrt(df / stats.chi2.ppf(0.025, df)))


def _holds(n: int, repeats: int) -> tuple[float, float]:
    """Shares of simulated studies whose intervals hold the minimum detectable difference and the seeds needed.

    The truth is that of statsmodels at the true spread, 1.
    """
    rng = np.random.default_rng(n)
    truth = REFERENCE.solve_power(None, n, 0.05, 0.8)
    needed = math.ceil(REFERENCE.solve_power(1.0, None, 0.05, 0.8))
    hits = np.zeros(2)
    for _ in range(repeats):
        variance = float(rng.normal(0, 1, n).var(ddof=1))
        noise = Noise(variance)
        ((found, seeds),) = compute_power_ranges([PowerRequest(math.sqrt(variance / n), n - 1, noise, n - 1, 1.0)])
        assert seeds is not None and seeds.low is not None
        hits += [found.low <= truth <= found.high, seeds.low <= needed <= (seeds.high or math.inf)]
    return hits[0] / repeats, hits[1] / repeats


@pytest.mark.slow
def test_the_interval_holds_the_true_figures() -> None:
    detectable_share, seeds_share = _holds(5, 200)
    assert 0.90 < detectable_share < 0.99 and seeds_share > 0.90


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_holds_the_true_figures_95_times_in_100(n: int) -> None:
    """Within three standard errors; of whole numbers of seeds a little more than 95."""
    detectable_share, seeds_share = _holds(n, 2000)
    assert 0.935 < detectable_share < 0.965 and seeds_share > 0.935


@pytest.mark.slow
def test_the_interval_of_crossed_estimates_holds_the_truth() -> None:
    """Seeds of sd 1, examples of a known error: power by simulation at the true spread."""
    rng = np.random.default_rng(0)
    seeds, floor = 5, 0.1
    total = 1 / seeds + floor
    truth = math.sqrt(total) * float(
        compute_detectable(1.0, float(compute_cochran_df([1 / seeds, floor], [seeds - 1, 400])))
    )
    hits = 0
    for _ in range(1000):
        variance = float(rng.normal(0, 1, seeds).var(ddof=1))
        df = float(compute_cochran_df([variance / seeds, floor], [seeds - 1, 400]))
        request = PowerRequest(math.sqrt(variance / seeds + floor), df, Noise(variance, floor, 400), seeds - 1)
        ((found, _),) = compute_power_ranges([request])
        hits += found.low <= truth <= found.high
    assert hits / 1000 > 0.93
