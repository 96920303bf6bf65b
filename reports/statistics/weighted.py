"""Metrics of resampled examples: each counted as often as it was drawn, over many draws and replicas at once.

weights W [draws, n] · predictions P [replicas, n] · targets y [n] -> points [draws, replicas]. Undefined is 0, as in
the scores of the suites.
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

    w = w.T.astype(np.float64)  # [n, draws]: picking rows is fast in this layout
    n = w.sum(axis=0)
    order, starts, sizes = tied(w, y)
    of_targets = np.empty_like(w)
    of_targets[order] = np.repeat(mid_ranks(sizes), np.diff(starts, append=len(y)), axis=0)
    drift, spread = w * (of_targets - (n + 1) / 2), rank_spread(n, sizes)
    made = []
    for one in p:
        order, starts, sizes = tied(w, one)
        shared = np.einsum("gb,gb->b", mid_ranks(sizes), _by_group(drift[order], starts))
        made.append(_ratio(100.0 * shared, np.sqrt(spread * rank_spread(n, sizes))))
    return np.stack(made, axis=1)


METRICS: Mapping[str, Weighted] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews_correlation": matthews_correlation,
    "pearson": pearson,
    "spearman": spearman,
}


def tied(w: Any, values: Any) -> tuple[Any, Any, Any]:
    """Order of the examples, where each group of equals starts in it, and copies in each group [groups, draws]."""
    import numpy as np

    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return order, starts, _by_group(w[order], starts)


def _by_group(ordered: Any, starts: Any) -> Any:
    import numpy as np

    return ordered if len(starts) == len(ordered) else np.add.reduceat(ordered, starts, axis=0)


def mid_ranks(sizes: Any) -> Any:
    """Mean rank of each group's copies [groups, draws]."""
    import numpy as np

    return np.cumsum(sizes, axis=0) - (sizes - 1) / 2.0


def rank_spread(n: Any, sizes: Any) -> Any:
    """Sum of squares of n ranks about their mean, less what ties take: (n³ - sum of t³) / 12 [draws]."""
    import numpy as np

    return (n**3 - np.einsum("gb,gb,gb->b", sizes, sizes, sizes)) / 12


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
