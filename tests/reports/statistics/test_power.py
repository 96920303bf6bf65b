"""Power and seeds needed against statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from reports.statistics.power import Noise, detectable, power, seeds_needed

REFERENCE = TTestPower()


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_minimum_detectable_effect(n: int) -> None:
    spread = 2.5
    effect = detectable(spread / math.sqrt(n), n - 1)
    assert REFERENCE.power(effect / spread, n, 0.05) == pytest.approx(0.8, abs=2e-4)


@pytest.mark.parametrize("size", [0.2, 0.5, 1.0, 2.0, 5.0])
def test_seeds_needed(size: float) -> None:
    found = seeds_needed(-3.0 * size, Noise(9.0))
    assert found is not None and REFERENCE.power(size, found, 0.05) >= 0.8
    assert found == 2 or REFERENCE.power(size, found - 1, 0.05) < 0.8


def test_power_curve() -> None:
    counts = np.array([2, 3, 5, 10, 50, 1000])
    assert power(1.5, Noise(4.0), counts) == pytest.approx(REFERENCE.power(0.75, counts, 0.05), abs=1e-6)
    assert power(40.0, Noise(4.0), counts)[2:] == pytest.approx(1.0)


def test_seeds_do_not_help_against_too_few_examples() -> None:
    assert seeds_needed(1.0, Noise(1.0, floor=1.0, floor_df=276)) is None
    with_floor, without = seeds_needed(1.0, Noise(1.0, floor=0.05, floor_df=276)), seeds_needed(1.0, Noise(1.0))
    assert with_floor is not None and without is not None and with_floor > without
