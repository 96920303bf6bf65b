"""Named, independent random streams of a cell: drawing for one purpose never changes what is drawn for another.

init      adapter weights               order     order of the training rows
head      weights of the task's head    dropout   dropout masks
mask      entries that train            length    sequence of length groups (--group-by-length only)
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

STREAMS = ("init", "head", "mask", "order", "dropout", "length")
"""Names of the streams. Cells without --group-by-length have no seed for `length`, which has no effect on them."""


@dataclasses.dataclass(frozen=True)
class Streams:
    """The random streams of one cell. `seeds` maps stream name -> seed.

    All generators are on the CPU, so that every device gets the same numbers.
    """

    seeds: Mapping[str, int]

    def integer(self, stream: str, label: str) -> int:
        """A 63-bit integer that depends only on the stream's name, its seed and the label."""
        # hashed, so that neighbouring seeds and similar labels give unrelated numbers
        text = f"{stream}:{self.seeds[stream]}:{label}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1

    def torch(self, stream: str, label: str) -> torch.Generator:
        """A torch generator on the CPU for one purpose of a stream."""
        import torch

        return torch.Generator().manual_seed(self.integer(stream, label))

    def numpy(self, stream: str, label: str) -> np.random.Generator:
        """A NumPy generator for one purpose of a stream."""
        import numpy as np

        return np.random.default_rng(self.integer(stream, label))


def equal(seed: int) -> dict[str, int]:
    """The same seed for every stream; `--seeds 5` uses 0 to 4 in this way."""
    return dict.fromkeys(STREAMS, seed)
