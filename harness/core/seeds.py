"""Named, independent seeded streams: what is drawn for one purpose never moves what is drawn for another."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

STREAMS = ("init", "head", "mask", "order", "dropout", "length")
"""`length` is the sequence of length groups under --group-by-length; cells without that flag have no such seed."""


@dataclasses.dataclass(frozen=True)
class Streams:
    """The seeds of one cell, by stream name. Generators live on the CPU, so each device draws the same."""

    seeds: Mapping[str, int]

    def integer(self, stream: str, label: str) -> int:
        """A 63-bit integer that depends on the stream's seed, its name and the label only."""
        text = f"{stream}:{self.seeds[stream]}:{label}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1

    def torch(self, stream: str, label: str) -> torch.Generator:
        import torch

        return torch.Generator().manual_seed(self.integer(stream, label))

    def numpy(self, stream: str, label: str) -> np.random.Generator:
        import numpy as np

        return np.random.default_rng(self.integer(stream, label))


def equal(seed: int) -> dict[str, int]:
    """The same number for each stream: what `--seeds 5` makes of 0 to 4."""
    return dict.fromkeys(STREAMS, seed)
