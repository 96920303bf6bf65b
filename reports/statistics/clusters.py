"""Examples that come in groups (questions of a subject): who belongs where, and standard errors that know of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reports.statistics.student import Student

if TYPE_CHECKING:
    import numpy as np


def compute_clusters(ids: Sequence[str], split: str) -> np.ndarray:
    """Codes [n] of what stands before the last '/' of each id, as in 'anatomy/17'.

    Each example is a cluster of its own where that is the split's name ('validation/17') or the same for all.
    """
    import numpy as np

    prefixes = [name.rpartition("/")[0] for name in ids]
    if len(set(prefixes)) < 2 or set(prefixes) <= {split, ""}:
        return np.arange(len(prefixes))
    return np.asarray(np.unique(prefixes, return_inverse=True)[1])


def estimate_clustered_mean(values: Any, codes: Any) -> Student | None:
    """Mean of values [n] whose errors are free within clusters `codes` [n]; None of one cluster or no spread.

    The variance of a least-squares mean with clustered errors and the small-sample factor G / (G - 1)
    (Liang and Zeger 1986), degrees of freedom G - 1.
    """
    import numpy as np

    values = np.asarray(values, dtype=float)
    groups = int(np.max(codes)) + 1
    if groups < 2:
        return None
    sums = np.bincount(codes, values - values.mean())
    variance = groups / (groups - 1) * float(sums @ sums) / len(values) ** 2
    # rounding leaves a tiny variance where all clusters agree
    return Student(float(values.mean()), math.sqrt(variance), groups - 1) if variance > 1e-24 else None
