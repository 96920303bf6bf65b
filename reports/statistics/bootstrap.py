"""Seeded draws with replacement, for the bands of the performance profiles."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

DRAWS = 1000


def create_generator(seed: int, *labels: str) -> np.random.Generator:
    """A stream of its own for each label, whatever else is drawn and in which order."""
    import numpy as np

    # crc32, because Python's hash of a text differs from process to process
    return np.random.default_rng([seed, zlib.crc32("\n".join(labels).encode())])


def draw_counts(rng: np.random.Generator, draws: int, n: int) -> Any:
    """How often each of n units is drawn in n draws with replacement: int64 [draws, n], rows sum to n."""
    import numpy as np

    # an offset for each draw, so that one bincount counts all draws
    indices = rng.integers(0, n, (draws, n)) + n * np.arange(draws)[:, None]
    return np.bincount(indices.ravel(), minlength=draws * n).reshape(draws, n)
