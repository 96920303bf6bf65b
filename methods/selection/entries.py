"""Strategies for single entries at random (arXiv 2403.08822)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.method import PerSite, Site, strategy


def shuffle_entries(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The numbers 1 to m * n in random order, as [m, n]."""
    size = shape[0] * shape[1]
    order = np.empty(size, dtype=np.int64)
    order[rng.permutation(size)] = np.arange(size, 0, -1)
    return order.reshape(shape)


@strategy("random", paper="arXiv 2403.08822")
def score_randomly(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Entries at random, without replacement."""
    orders = {site.name: (shuffle_entries(site.shapes[0], rng), shuffle_entries(site.shapes[1], rng)) for site in sites}
    # Divided by the size, because otherwise the largest matrix would win in a scope of several matrices.
    return {name: (a / a.size, b / b.size) for name, (a, b) in orders.items()}


@strategy("complementary", twins=True)
def score_complementary(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Random entries; mask seeds 2i and 2i + 1 train complementary halves (ratio 0.5 only)."""
    return score_randomly(sites, ratio, rng)
