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
