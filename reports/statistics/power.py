"""What a number of paired seeds can show: minimum detectable effect, and seeds needed (power 0.8, alpha 0.05)."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Any

from reports.intervals import Estimate, quantile
from reports.statistics.student import cochran

POWER, ALPHA = 0.8, 0.05
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Noise:
    """Where the error of a mean paired difference comes from.

    `seed_variance` is that of one pair and shrinks with the number of seeds; `floor` (points squared) is the part of
    the examples, which no further seed lowers, with its degrees of freedom.
    """

    seed_variance: float
    floor: float = 0.0
    floor_df: float = math.inf


def detectable(se: float, df: float) -> float:
    """The true difference that a two-sided t-test of this standard error finds with 80 % power.

    The other tail, which finds a difference of the wrong sign, is left out: below 1e-4 at this power.
    """
    from scipy.special import nctdtrinc

    return float(nctdtrinc(df, 1 - POWER, quantile(df, 1 - ALPHA))) * se


def seeds_needed(effect: float, noise: Noise) -> int | None:
    """The fewest paired seeds that find `effect` with 80 % power; None where 1,000 do not."""
    counts = range(2, MOST_SEEDS + 1)
    found = bisect.bisect_left(counts, True, key=lambda n: bool(power(abs(effect), noise, n) >= POWER))
    return counts[found] if found < len(counts) else None


def reach(found: Estimate) -> str:
    """What so many seeds could have shown of a mean paired difference; '' without an interval."""
    if not found.half:
        return ""
    df = found.df or found.n - 1
    se = found.half / quantile(df)
    told = f"{detectable(se, df):.1f} points would be found"
    if not found.mean:
        return told
    seeds = seeds_needed(found.mean, Noise(se**2 * (df + 1)))
    return f"{told}, {abs(found.mean):.2g} take {f'more than {MOST_SEEDS:,}' if seeds is None else seeds} seeds"


def power(effect: float, noise: Noise, counts: Any) -> Any:
    """Power of the two-sided t-test at a number of paired seeds, or at each of several [n]."""
    import numpy as np
    from scipy.special import nctdtr, stdtrit

    of_seeds = noise.seed_variance / counts
    total = of_seeds + noise.floor
    df = cochran([of_seeds, noise.floor], [counts - 1, noise.floor_df])
    shift = effect / np.sqrt(total)
    critical = stdtrit(df, 1 - ALPHA / 2)
    # scipy's noncentral t gives NaN far out, where the power is 1.
    return np.nan_to_num(1 - nctdtr(df, shift, critical) + nctdtr(df, shift, -critical), nan=1.0)
