"""Random entries (arXiv 2403.08822): each matrix trains exactly its share, drawn without replacement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.contracts import STRATEGIES, Masks, Site


@STRATEGIES.register("random")
def random(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> Masks:
    """Exactly round(ratio * entries) of A and of B at each site."""
    return {site.name: (_entries(site.shapes[0], ratio, rng), _entries(site.shapes[1], ratio, rng)) for site in sites}


def _entries(shape: tuple[int, int], ratio: float, rng: np.random.Generator) -> np.ndarray:
    size = shape[0] * shape[1]
    mask = np.zeros(size, dtype=bool)
    mask[rng.permutation(size)[: round(ratio * size)]] = True
    return mask.reshape(shape)
