"""Means over runs whose streams have seeds of their own (init x mask): runs that share a seed are not independent."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from reports.frames import Seeds
from reports.statistics.student import Estimate, Student, compute_cochran_df, estimate_mean, has_no_spread
from reports.statistics.variance import estimate_components, find_varying_streams

CROSSED = " x "
"""Between the streams that `describe_streams` names, if they are several."""


def describe_streams(every: Iterable[Seeds]) -> str:
    """'init x mask' of crossed seeds, 'mask' where only masks have new ones; '' where all streams move together."""
    seeds = list(every)
    if all(map(_move_together, seeds)):
        return ""
    return CROSSED.join(find_varying_streams([dict(run_seeds) for run_seeds in seeds]))


@functools.lru_cache(maxsize=1 << 16)
def _move_together(seeds: Seeds) -> bool:
    """Whether all streams have one seed; asked for each run in each estimate that it is part of."""
    return len({seed for _, seed in seeds}) == 1


def is_crossed(every: Iterable[Seeds]) -> bool:
    """Whether runs share the seed of one stream and differ in that of another."""
    return CROSSED in describe_streams(every)


def estimate_over_seeds(values: Mapping[Seeds, float]) -> Student | None:
    """Mean over runs for new seeds of each stream that varies; None of fewer than two, or without spread.

    Of crossed seeds the variance is that of the mean in the random-effects model of `variance.estimate_components`: of
    each stream its component times the sum of its levels' squared shares of the runs, and the rest over n.
    """
    numbers = list(values.values())
    if not is_crossed(values):
        return estimate_mean(numbers)
    seeds = [dict(run_seeds) for run_seeds in values]
    stream_components = estimate_components(numbers, seeds)
    if not stream_components or has_no_spread(numbers):
        return None
    # a seed that many runs share averages out less than one of a single run
    shares = [_sum_squared_shares(codes) for codes in find_varying_streams(seeds).values()]
    parts = [c.variance * share for c, share in zip(stream_components, [*shares, 1 / len(numbers)], strict=True)]
    dfs = [c.levels - 1 for c in stream_components[:-1]]
    # at least 1, below which a t quantile says nothing
    dfs.append(max(1, len(numbers) - 1 - sum(dfs)))
    if sum(parts) <= 0:
        return None
    return Student(statistics.fmean(numbers), sum(parts) ** 0.5, float(compute_cochran_df(parts, dfs)))


def _sum_squared_shares(codes: Any) -> float:
    """Sum over a stream's seeds of the squared share of the runs that have it."""
    import numpy as np

    shares = np.bincount(codes) / len(codes)
    return float(shares @ shares)


def estimate_interval(values: Mapping[Seeds, float]) -> Estimate | None:
    """Mean of runs by their seeds, crossed or not, with its interval; None of no runs."""
    if not values:
        return None
    numbers = list(values.values())
    interval = estimate_over_seeds(values)
    constant = interval is None and len(numbers) > 1 and has_no_spread(numbers)
    return Estimate(statistics.fmean(numbers), len(numbers), interval, constant)
