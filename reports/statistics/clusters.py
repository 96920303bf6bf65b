"""Examples that come in groups: who belongs where, and standard errors that know of it.

cluster   questions of one subject, in one eval split
unit      a cluster, or one example in all of its translations (parallel splits): what new examples would bring
"""

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


def are_parallel(ids: Sequence[str], splits: Sequence[str], targets: Sequence[Any]) -> bool:
    """Whether all splits, two or more, have the same examples: the same ids after the split's name, and targets.

    XNLI's languages do, as in 'validation_en/17' and 'validation_de/17'. The two splits of MNLI do not: row 17 of one
    is another example than row 17 of the other, and all rows do not have the same labels by chance.
    """
    by_split: dict[str, dict[str, Any]] = {}
    for name, split, target in zip(ids, splits, targets, strict=True):
        if not name.startswith(f"{split}/"):
            return False
        by_split.setdefault(split, {})[name.removeprefix(f"{split}/")] = target
    first, *others = by_split.values()
    return bool(others) and all(other == first for other in others)


def compute_units(ids: Sequence[str], splits: Sequence[str], targets: Sequence[Any]) -> np.ndarray:
    """Codes [n] over the examples of all splits, from 0. Only parallel splits share units; see `compute_clusters`."""
    import numpy as np

    if are_parallel(ids, splits, targets):
        names = [name.removeprefix(f"{split}/") for name, split in zip(ids, splits, strict=True)]
        return np.asarray(np.unique(names, return_inverse=True)[1])
    codes = np.zeros(len(ids), dtype=int)
    start, all_splits, all_ids = 0, np.array(splits), np.array(ids)
    for split in dict.fromkeys(splits):
        at = all_splits == split
        # compute_clusters counts from 0 within each split
        codes[at] = start + compute_clusters(list(all_ids[at]), split)
        start = int(codes.max()) + 1
    return codes


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
