"""Metrics of resampled examples: each counted as often as it was drawn, over many draws and replicas at once.

weights W [draws, n] · predictions P [replicas, n] · targets y [n] -> points [draws, replicas]. Undefined is 0, as in
the scores of the suites.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

Weighted = Callable[[Any, Any, Any], Any]


def accuracy(w: Any, p: Any, y: Any) -> Any:
    return 100.0 * _total(w, p == y) / w.sum(axis=1, keepdims=True)


def f1(w: Any, p: Any, y: Any) -> Any:
    """F1 of class 1."""
    hits = _total(w, (p == 1) & (y == 1))
    marked = _total(w, p == 1) + _total(w, (y == 1)[None])
    return _ratio(200.0 * hits, marked)


def matthews_correlation(w: Any, p: Any, y: Any) -> Any:
    """Any number of classes (Gorodkin 2004)."""
    import numpy as np

    rows = w.sum(axis=1, keepdims=True).astype(float)
    shared, guessed_squares, present_squares = _total(w, p == y) * rows, 0.0, 0.0
    for label in np.union1d(np.unique(p), np.unique(y)):
        guessed, present = _total(w, p == label), _total(w, (y == label)[None])
        shared = shared - guessed * present
        guessed_squares, present_squares = guessed_squares + guessed**2, present_squares + present**2
    return _ratio(100.0 * shared, np.sqrt((rows**2 - guessed_squares) * (rows**2 - present_squares)))


def pearson(w: Any, p: Any, y: Any) -> Any:
    return _correlation(w, p - p.mean(axis=1, keepdims=True), (y - y.mean())[None])


def spearman(w: Any, p: Any, y: Any) -> Any:
    """Ranks are taken anew in each draw, an example drawn twice being tied with itself.

    In float32, which holds counts, ranks and their halves exactly; half the memory is half the time. Their products are
    rounded to 1e-7 of a point.
    """
    import numpy as np

    w = np.ascontiguousarray(w.T, dtype=np.float32)  # [n, draws]: picking rows is fast in this layout
    of_targets, ties = np.empty_like(w), Ties(y)
    of_targets[ties.order], spread = ties.ranks(w)
    drift = w * (of_targets - (w.sum(axis=0) + 1) / 2)
    made = []
    for ties in map(Ties, p):
        ranks, own = ties.ranks(w)
        ranks *= drift[ties.order]
        made.append(_ratio(100.0 * ranks.sum(axis=0, dtype=np.float64), np.sqrt(spread * own)))
    return np.stack(made, axis=1)


METRICS: Mapping[str, Weighted] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews_correlation": matthews_correlation,
    "pearson": pearson,
    "spearman": spearman,
}


class Ties:
    """`order` sorts the examples by `values` [n]; `groups` are the (start, end) in it of equals."""

    def __init__(self, values: Any) -> None:
        import numpy as np

        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        ends = np.append(starts[1:], len(ordered))
        many = ends - starts > 1
        self.groups = list(zip(starts[many].tolist(), ends[many].tolist(), strict=True))

    def ranks(self, w: Any) -> tuple[Any, Any]:
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


def _correlation(w: Any, p: Any, y: Any) -> Any:
    """Weighted Pearson correlation; p [replicas, n] and y [1, n] roughly centred, so that the sums cancel little."""
    import numpy as np

    n = w.sum(axis=1, keepdims=True)
    mean_p, mean_y = _total(w, p) / n, _total(w, y) / n
    shared = _total(w, p * y) / n - mean_p * mean_y
    spread_p, spread_y = _total(w, p**2) / n - mean_p**2, _total(w, y**2) / n - mean_y**2
    return _ratio(100.0 * shared, np.sqrt(np.clip(spread_p, 0, None) * np.clip(spread_y, 0, None)))


def _total(w: Any, values: Any) -> Any:
    """Weighted sums [draws, replicas]; flags are summed in float32, which is exact below 2**24 rows."""
    import numpy as np

    kind = np.float32 if values.dtype == bool else np.float64
    return (w.astype(kind) @ values.T.astype(kind)).astype(np.float64)


def _ratio(top: Any, bottom: Any) -> Any:
    import numpy as np

    return np.divide(top, bottom, out=np.zeros_like(np.broadcast_arrays(top, bottom)[0]), where=bottom > 1e-12)


# ---------------------------------------------------------------- influence of one example


def influence(metric: str, p: Any, y: Any) -> Any:
    """Derivative of the metric (points) by the weight of each example, at weights of 1: [n, replicas].

    The infinitesimal jackknife (Jaeckel 1972; Efron 1982, chapter 6): the variance over new examples is the sum of
    squares, which is what a bootstrap with infinitely many draws gives of a smooth metric. Zero where the metric is
    undefined.
    """
    import numpy as np

    return np.asarray(INFLUENCES[metric](p, y), dtype=float)


def _of_accuracy(p: Any, y: Any) -> Any:
    right = (p == y).T.astype(float)
    return 100.0 * (right - right.mean(axis=0)) / len(y)


def _of_f1(p: Any, y: Any) -> Any:
    hits, marks = ((p == 1) & (y == 1)).T.astype(float), (p == 1).T.astype(float) + (y == 1)[:, None]
    marked = marks.sum(axis=0)
    value = _ratio(200.0 * hits.sum(axis=0), marked)
    return _ratio(200.0 * hits - value * marks, _repeat(marks, marked))


def _of_matthews(p: Any, y: Any) -> Any:
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
    slope = _ratio(2.0 * (n - of_guess), _repeat(right, a)) + _ratio(2.0 * (n - of_target), _repeat(of_target, b))
    return 100.0 * (_ratio(d_top, _repeat(right, bottom)) - 0.5 * _ratio(top, bottom) * slope) * (bottom > 1e-12)


def _of_pearson(p: Any, y: Any) -> Any:
    z, target = _standard(p.T.astype(float)), _standard(y.astype(float)[:, None])
    return 100.0 * _of_correlation(z, target) / len(y)


def _of_spearman(p: Any, y: Any) -> Any:
    """Pearson's of the ranks, and what the weight of an example does to the ranks of all others."""
    import numpy as np

    n = len(y)
    ranks_y, sums_y = _mid_ranks(y)
    target, spread_y = _standard(ranks_y[:, None])[:, 0], ranks_y.std()
    made = []
    for own in p:
        ranks_p, sums_p = _mid_ranks(own)
        z, spread_p = _standard(ranks_p[:, None])[:, 0], ranks_p.std()
        if spread_p < 1e-12 or spread_y < 1e-12:
            made.append(np.zeros(n))
            continue
        r = float(z @ target) / n
        moved = sums_p(target - r * z) / spread_p + sums_y(z - r * target) / spread_y
        made.append(100.0 * (_of_correlation(z[:, None], target[:, None])[:, 0] + moved / n) / n)
    return np.stack(made, axis=1)


def _mid_ranks(values: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Share of the examples below each, ties counted half [n]; and a function of g [n]: the sum of g over the examples
    above each, ties counted half.
    """
    import numpy as np

    _, codes, sizes = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(sizes) - 0.5 * sizes

    def sums_above(g: Any) -> Any:
        own = np.bincount(codes, g, len(sizes))
        return (own[::-1].cumsum()[::-1] - 0.5 * own)[codes]

    return below[codes] / len(values), sums_above


def _of_correlation(z: Any, target: Any) -> Any:
    """Of Pearson's correlation, from standardized columns (Devlin, Gnanadesikan and Kettenring 1975)."""
    r = (z * target).mean(axis=0)
    defined = (z * z).sum(axis=0) * (target * target).sum(axis=0) > 0
    return (z * target - 0.5 * r * (z * z + target * target)) * defined


def _standard(values: Any) -> Any:
    centred = values - values.mean(axis=0)
    return _ratio(centred, _repeat(centred, centred.std(axis=0)))


def _repeat(like: Any, row: Any) -> Any:
    """The row once for each row of `like`."""
    import numpy as np

    return np.broadcast_to(row, like.shape)


INFLUENCES: Mapping[str, Callable[[Any, Any], Any]] = {
    "accuracy": _of_accuracy,
    "f1": _of_f1,
    "matthews_correlation": _of_matthews,
    "pearson": _of_pearson,
    "spearman": _of_spearman,
}
