"""The sign-flip (permutation) test of a mean paired difference: valid whatever the distribution, if it is symmetric."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

MAX_EXACT_PAIRS = 16
"""Up to so many differences every pattern of signs is counted."""
RANDOM_PATTERNS = 9_999
"""Random patterns beyond, always the same ones."""
CHUNK = 2_000_000
MAX_KEPT_PAIRS = 1000
"""Differences up to which the random patterns are kept: 80 MB."""


def compute_sign_flip_p(differences: Sequence[float]) -> float | None:
    """Two-sided p that the differences are symmetric about 0 (Fisher 1935; Good 2005, section 3.2); never 0.

    The share of sign patterns whose mean lies as far from 0 as the one seen. Exact up to 16 pairs, whose least p is
    2 / 2^n; of more, 9,999 random patterns beside the one seen (Phipson and Smyth 2010). None where all are 0. By hand,
    as scipy.stats.permutation_test takes a hundred times as long.
    """
    import numpy as np

    # a difference of 0 has no sign to flip
    values = np.asarray([d for d in differences if d != 0], dtype=float)
    n = len(values)
    if n == 0:
        return None
    observed = abs(float(values.sum()))
    # two sums that are equal may differ by rounding, and must both count
    threshold = observed - 1e-9 * max(1.0, float(np.abs(values).sum()))
    if n <= MAX_EXACT_PAIRS:
        return float(np.mean(np.abs(_list_signs(n) @ values) >= threshold))
    count, total = 0, float(values.sum())
    for signs in _draw_once(n) if n <= MAX_KEPT_PAIRS else _draw_signs(n):
        # values less twice those whose sign is turned: one matrix of floats, not two
        count += int(np.sum(np.abs(total - 2.0 * (signs @ values)) >= threshold))
    return (1 + count) / (1 + RANDOM_PATTERNS)


@functools.lru_cache(maxsize=1)
def _list_signs(n: int) -> Any:
    """Every pattern of `n` signs, 1 or -1 [patterns, n], kept for the next test as `_draw_once` does."""
    import numpy as np

    # The first sign is held: the other half of the patterns are the same with all signs turned.
    return 1.0 - 2.0 * ((np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1)


def _draw_signs(n: int) -> Iterator[Any]:
    """The random patterns of `n` signs, 1 where a sign is turned [patterns, n], in parts that fit into memory."""
    import numpy as np

    rng, rows = np.random.default_rng(0), max(1, CHUNK // n)
    for start in range(0, RANDOM_PATTERNS, rows):
        yield rng.integers(0, 2, (min(rows, RANDOM_PATTERNS - start), n), dtype=np.int8).astype(float)


@functools.lru_cache(maxsize=1)
def _draw_once(n: int) -> tuple[Any, ...]:
    """The same, kept for the next test: the comparisons of a report have equal numbers of seeds."""
    return tuple(_draw_signs(n))
