"""Metrics of resampled examples: each counted as often as it was drawn, over many draws and replicas at once.

weights W [draws, n] · predictions P [replicas, n] · targets y [n] -> points [draws, replicas]. Undefined is 0, as in
the scores of the suites.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

Weighted = Callable[[Any, Any, Any], Any]


def compute_accuracy(w: Any, p: Any, y: Any) -> Any:
    return 100.0 * _sum_weighted(w, p == y) / w.sum(axis=1, keepdims=True)


def compute_f1(w: Any, p: Any, y: Any) -> Any:
    """F1 of class 1."""
    hits = _sum_weighted(w, (p == 1) & (y == 1))
    marked = _sum_weighted(w, p == 1) + _sum_weighted(w, (y == 1)[None])
    return _divide(200.0 * hits, marked)


def compute_matthews(w: Any, p: Any, y: Any) -> Any:
    """Any number of classes (Gorodkin 2004)."""
    import numpy as np

    rows = w.sum(axis=1, keepdims=True).astype(float)
    shared, guessed_squares, present_squares = _sum_weighted(w, p == y) * rows, 0.0, 0.0
    for label in np.union1d(np.unique(p), np.unique(y)):
        guessed, present = _sum_weighted(w, p == label), _sum_weighted(w, (y == label)[None])
        shared = shared - guessed * present
        guessed_squares, present_squares = guessed_squares + guessed**2, present_squares + present**2
    return _divide(100.0 * shared, np.sqrt((rows**2 - guessed_squares) * (rows**2 - present_squares)))


def compute_pearson(w: Any, p: Any, y: Any) -> Any:
    return _compute_correlation(w, p - p.mean(axis=1, keepdims=True), (y - y.mean())[None])


def compute_spearman(w: Any, p: Any, y: Any) -> Any:
    """Ranks are taken anew in each draw, an example drawn twice being tied with itself.

    In float32, which holds counts, ranks and their halves exactly; half the memory is half the time. Their products are
    rounded to 1e-7 of a point.
    """
    import numpy as np

    w = np.ascontiguousarray(w.T, dtype=np.float32)  # [n, draws]: picking rows is fast in this layout
    of_targets, ties = np.empty_like(w), Ties(y)
    of_targets[ties.order], spread = ties.compute_ranks(w)
    drift = w * (of_targets - (w.sum(axis=0) + 1) / 2)
    correlations = []
    for ties in map(Ties, p):
        ranks, rank_spread = ties.compute_ranks(w)
        ranks *= drift[ties.order]
        correlations.append(_divide(100.0 * ranks.sum(axis=0, dtype=np.float64), np.sqrt(spread * rank_spread)))
    return np.stack(correlations, axis=1)


METRICS: Mapping[str, Weighted] = {
    "accuracy": compute_accuracy,
    "f1": compute_f1,
    "matthews_correlation": compute_matthews,
    "pearson": compute_pearson,
    "spearman": compute_spearman,
}


class Ties:
    """`order` sorts the examples by `values` [n]; `groups` are the (start, end) in it of equals."""

    def __init__(self, values: Any) -> None:
        import numpy as np

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
        import numpy as np

        sizes = w[self.order]
        ranks = sizes.copy()
        if w.shape[1] == 1:
            np.cumsum(ranks, axis=0, out=ranks)
        else:
            for above, row in itertools.pairwise(ranks):  # np.cumsum walks down each column, five times as slow
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


def _compute_correlation(w: Any, p: Any, y: Any) -> Any:
    """Weighted Pearson correlation; p [replicas, n] and y [1, n] roughly centred, so that the sums cancel little."""
    import numpy as np

    n = w.sum(axis=1, keepdims=True)
    mean_p, mean_y = _sum_weighted(w, p) / n, _sum_weighted(w, y) / n
    shared = _sum_weighted(w, p * y) / n - mean_p * mean_y
    spread_p, spread_y = _sum_weighted(w, p**2) / n - mean_p**2, _sum_weighted(w, y**2) / n - mean_y**2
    return _divide(100.0 * shared, np.sqrt(np.clip(spread_p, 0, None) * np.clip(spread_y, 0, None)))


def _sum_weighted(w: Any, values: Any) -> Any:
    """Weighted sums [draws, replicas]; flags are summed in float32, which is exact below 2**24 rows."""
    import numpy as np

    kind = np.float32 if values.dtype == bool else np.float64
    return (w.astype(kind) @ values.T.astype(kind)).astype(np.float64)


def _divide(top: Any, bottom: Any) -> Any:
    import numpy as np

    return np.divide(top, bottom, out=np.zeros_like(np.broadcast_arrays(top, bottom)[0]), where=bottom > 1e-12)


# ---------------------------------------------------------------- influence of one example


def compute_influence(metric: str, p: Any, y: Any) -> Any:
    """Derivative of the metric (points) by the weight of each example, at weights of 1: [n, replicas].

    The infinitesimal jackknife (Jaeckel 1972; Efron 1982, chapter 6): the variance over new examples is the sum of
    squares, which is what a bootstrap with infinitely many draws gives of a smooth metric. Zero where the metric is
    undefined.
    """
    import numpy as np

    return np.asarray(INFLUENCES[metric](p, y), dtype=float)


def _compute_accuracy_influence(p: Any, y: Any) -> Any:
    right = (p == y).T.astype(float)
    return 100.0 * (right - right.mean(axis=0)) / len(y)


def _compute_f1_influence(p: Any, y: Any) -> Any:
    hits, marks = ((p == 1) & (y == 1)).T.astype(float), (p == 1).T.astype(float) + (y == 1)[:, None]
    marked = marks.sum(axis=0)
    value = _divide(200.0 * hits.sum(axis=0), marked)
    return _divide(200.0 * hits - value * marks, _repeat(marks, marked))


def _compute_matthews_influence(p: Any, y: Any) -> Any:
    import numpy as np

    n, labels = len(y), np.union1d(np.unique(p), np.unique(y))
    right = (p == y).T.astype(float)
    guessed = {k: (p == k).sum(axis=1).astype(float) for k in labels}
    present = {k: float((y == k).sum()) for k in labels}
    of_guess = sum((p == k).T * guessed[k] for k in labels)  # how often the class guessed for a row is guessed
    of_target = np.sum([(y == k) * present[k] for k in labels], axis=0)[:, None]
    shared = sum((p == k).T * present[k] for k in labels) + sum((y == k)[:, None] * guessed[k] for k in labels)
    top = right.sum(axis=0) * n - sum(guessed[k] * present[k] for k in labels)
    a, b = n**2 - sum(g**2 for g in guessed.values()), n**2 - sum(t**2 for t in present.values())
    bottom = np.sqrt(a * b)
    d_top = right * n + right.sum(axis=0) - shared
    slope = _divide(2.0 * (n - of_guess), _repeat(right, a)) + _divide(2.0 * (n - of_target), _repeat(of_target, b))
    return 100.0 * (_divide(d_top, _repeat(right, bottom)) - 0.5 * _divide(top, bottom) * slope) * (bottom > 1e-12)


def _compute_pearson_influence(p: Any, y: Any) -> Any:
    z, target = _standardize(p.T.astype(float)), _standardize(y.astype(float)[:, None])
    return 100.0 * _derive_correlation(z, target) / len(y)


def _compute_spearman_influence(p: Any, y: Any) -> Any:
    """Pearson's of the ranks, and what the weight of an example does to the ranks of all others."""
    import numpy as np

    n = len(y)
    ranks_y, sums_y = _compute_mid_ranks(y)
    target, spread_y = _standardize(ranks_y[:, None])[:, 0], ranks_y.std()
    columns = []
    for replica in p:
        ranks_p, sums_p = _compute_mid_ranks(replica)
        z, spread_p = _standardize(ranks_p[:, None])[:, 0], ranks_p.std()
        if spread_p < 1e-12 or spread_y < 1e-12:
            columns.append(np.zeros(n))
            continue
        r = float(z @ target) / n
        moved = sums_p(target - r * z) / spread_p + sums_y(z - r * target) / spread_y
        columns.append(100.0 * (_derive_correlation(z[:, None], target[:, None])[:, 0] + moved / n) / n)
    return np.stack(columns, axis=1)


def _compute_mid_ranks(values: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Share of the examples below each, ties counted half [n]; and a function of g [n]: the sum of g over the examples
    above each, ties counted half.
    """
    import numpy as np

    _, codes, sizes = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(sizes) - 0.5 * sizes

    def sums_above(g: Any) -> Any:
        group_sums = np.bincount(codes, g, len(sizes))
        return (group_sums[::-1].cumsum()[::-1] - 0.5 * group_sums)[codes]

    return below[codes] / len(values), sums_above


def _derive_correlation(z: Any, target: Any) -> Any:
    """Of Pearson's correlation, from standardized columns (Devlin, Gnanadesikan and Kettenring 1975)."""
    r = (z * target).mean(axis=0)
    defined = (z * z).sum(axis=0) * (target * target).sum(axis=0) > 0
    return (z * target - 0.5 * r * (z * z + target * target)) * defined


def _standardize(values: Any) -> Any:
    centred = values - values.mean(axis=0)
    return _divide(centred, _repeat(centred, centred.std(axis=0)))


def _repeat(like: Any, row: Any) -> Any:
    """The row once for each row of `like`."""
    import numpy as np

    return np.broadcast_to(row, like.shape)


INFLUENCES: Mapping[str, Callable[[Any, Any], Any]] = {
    "accuracy": _compute_accuracy_influence,
    "f1": _compute_f1_influence,
    "matthews_correlation": _compute_matthews_influence,
    "pearson": _compute_pearson_influence,
    "spearman": _compute_spearman_influence,
}
