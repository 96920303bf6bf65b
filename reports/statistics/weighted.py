"""Metrics of resampled examples: each counted as often as it was drawn, over many draws and replicas at once.

weights W [draws, n] · predictions P [replicas, n] · targets y [n] -> points [draws, replicas]. Undefined is 0, as in the
scores of the suites.
"""

from __future__ import annotations

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
    """Ranks are taken anew in each draw, an example drawn twice being tied with itself."""
    import numpy as np

    of_targets = mid_ranks(w, y)
    rows = w.sum(axis=1, keepdims=True)
    centred = of_targets - (rows + 1) / 2
    return np.stack([_rank_correlation(w, mid_ranks(w, one) - (rows + 1) / 2, centred) for one in p], axis=1)


METRICS: Mapping[str, Weighted] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews_correlation": matthews_correlation,
    "pearson": pearson,
    "spearman": spearman,
}


def mid_ranks(w: Any, values: Any) -> Any:
    """Mean rank of each example's copies in each draw [draws, n]."""
    import numpy as np

    _, codes = np.unique(values, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    sizes = np.add.reduceat(w[:, order], starts, axis=1)
    ranks = np.cumsum(sizes, axis=1) - (sizes - 1) / 2.0
    return ranks[:, codes]


def _rank_correlation(w: Any, a: Any, b: Any) -> Any:
    import numpy as np

    return _ratio(100.0 * (w * a * b).sum(1), np.sqrt((w * a**2).sum(1) * (w * b**2).sum(1)))


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
