"""Sums over weighted examples, for the weighted forms of metrics.

weights W [D, n] · predictions P [K, n] · references y [n] -> [D, K]
"""

from __future__ import annotations

from typing import Any

import numpy as np


def sum_weighted(weights: Any, values: Any) -> Any:
    """Weighted sums [D, K] of values [K, n]."""
    # Whole weights of flags are summed in float32: exact below 2**24 rows, and half the time.
    is_exact = values.dtype == bool and np.issubdtype(weights.dtype, np.integer)
    kind = np.float32 if is_exact else np.float64
    return (weights.astype(kind) @ values.T.astype(kind)).astype(np.float64)


def divide(top: Any, bottom: Any) -> Any:
    """The quotient; 0 where `bottom` is 0 to rounding, as for a metric that is undefined."""
    return np.divide(top, bottom, out=np.zeros_like(np.broadcast_arrays(top, bottom)[0]), where=bottom > 1e-12)


def repeat_row(like: Any, row: Any) -> Any:
    """A view of the row once for each row of `like`."""
    return np.broadcast_to(row, like.shape)


def standardize(values: Any) -> Any:
    """Columns of mean 0 and standard deviation 1; a constant column becomes 0."""
    centred = values - values.mean(axis=0)
    return divide(centred, repeat_row(centred, centred.std(axis=0)))


def derive_correlation(z: Any, target: Any) -> Any:
    """Derivative of Pearson's correlation, times n, from standardized columns [n, K] and [n, 1].

    Source: Devlin, Gnanadesikan and Kettenring 1975.
    """
    r = (z * target).mean(axis=0)
    defined = (z * z).sum(axis=0) * (target * target).sum(axis=0) > 0
    return (z * target - 0.5 * r * (z * z + target * target)) * defined
