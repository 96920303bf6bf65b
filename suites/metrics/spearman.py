"""Spearman rank correlation of values; ties share their mean rank."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.core.metric import METRICS, Metric
from suites.metrics.pearson import correlate
from suites.metrics.weighting import derive_correlation, divide, standardize


@METRICS.register("spearman")
class Spearman(Metric):
    name = "spearman"
    reads = "values"

    def compute(self, predictions: Any, references: Any) -> float:
        return correlate(_rank(predictions), _rank(references))

    def compute_weighted(self, predictions: Any, references: Any, weights: Any) -> Any:
        """Ranks are recomputed in each draw; the copies of an example that is drawn twice are tied.

        In float32, which holds counts, ranks and their halves exactly; half the memory is half the time. Their
        products are rounded to 1e-7 of a point.
        """
        # [n, draws]: selecting rows is fast in this layout.
        w = np.ascontiguousarray(weights.T, dtype=np.float32)
        of_targets, ties = np.empty_like(w), Ties(references)
        of_targets[ties.order], spread = ties.compute_ranks(w)
        drift = w * (of_targets - (w.sum(axis=0) + 1) / 2)
        correlations = []
        for ties in map(Ties, predictions):
            ranks, rank_spread = ties.compute_ranks(w)
            ranks *= drift[ties.order]
            correlations.append(divide(100.0 * ranks.sum(axis=0, dtype=np.float64), np.sqrt(spread * rank_spread)))
        return np.stack(correlations, axis=1)

    def compute_influence(self, predictions: Any, references: Any) -> Any:
        """Pearson's of the ranks, and what the weight of an example does to the ranks of all others."""
        n = len(references)
        ranks_y, sums_y = _compute_mid_ranks(references)
        target, spread_y = standardize(ranks_y[:, None])[:, 0], ranks_y.std()
        columns = []
        for replica in predictions:
            ranks_p, sums_p = _compute_mid_ranks(replica)
            z, spread_p = standardize(ranks_p[:, None])[:, 0], ranks_p.std()
            if spread_p < 1e-12 or spread_y < 1e-12:
                columns.append(np.zeros(n))
                continue
            r = float(z @ target) / n
            moved = sums_p(target - r * z) / spread_p + sums_y(z - r * target) / spread_y
            columns.append(100.0 * (derive_correlation(z[:, None], target[:, None])[:, 0] + moved / n) / n)
        return np.stack(columns, axis=1)


class Ties:
    """`order` sorts the examples by `values` [n]; `groups` are the (start, end) in it of equals."""

    def __init__(self, values: Any) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        ends = np.append(starts[1:], len(ordered))
        is_tied = ends - starts > 1
        self.groups = list(zip(starts[is_tied].tolist(), ends[is_tied].tolist(), strict=True))

    def compute_ranks(self, w: Any) -> tuple[Any, Any]:
        """Mean rank of each example's copies [n, draws] in `order`, and the ranks' spread [draws].

        Spread: sum of squares of n ranks about their mean, less what ties take, (n³ - sum of t³) / 12.
        """
        sizes = w[self.order]
        ranks = sizes.copy()
        if w.shape[1] == 1:
            np.cumsum(ranks, axis=0, out=ranks)
        else:
            # np.cumsum walks down each column, which is five times as slow.
            for above, row in itertools.pairwise(ranks):
                row += above
        cubes = ranks[-1].astype(np.float64) ** 3
        for start, end in self.groups:
            ranks[start:end] = ranks[end - 1]
            sizes[start:end] = sizes[start:end].sum(axis=0)
            cubes -= sizes[start].astype(np.float64) ** 3
        ranks -= 0.5 * sizes
        ranks += 0.5
        for start, end in self.groups:
            sizes[start:end] = 0
        return ranks, (cubes - np.einsum("gb,gb,gb->b", sizes, sizes, sizes)) / 12


def _compute_mid_ranks(values: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Share of the examples below each, ties counted half [n]; and a function of g [n]: the sum of g over the examples
    above each, ties counted half.
    """
    _, codes, sizes = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(sizes) - 0.5 * sizes

    def sums_above(g: Any) -> Any:
        group_sums = np.bincount(codes, g, len(sizes))
        return (group_sums[::-1].cumsum()[::-1] - 0.5 * group_sums)[codes]

    return below[codes] / len(values), sums_above


def _rank(values: Any) -> Any:
    """Ranks of [n]; ties share their mean rank."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    mean_rank = last - (sizes - 1) / 2.0
    return np.asarray(mean_rank[group])
