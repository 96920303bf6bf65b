"""The rows that a cell reads where the protocol limits them. Imports no torch, so that a plan can ask it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.method import Example


def select_rows(examples: Sequence[Example], rows: int | None, split: str) -> Sequence[Example]:
    """The first `rows` examples, for train those of a fixed shuffle (equal for all seeds); None: all examples."""
    if rows is None or rows >= len(examples):
        return examples
    if split != "train":
        return examples[:rows]
    # Shuffled, because files may be sorted by label; the seed is fixed, so all methods and seeds train on equal rows.
    order = np.random.default_rng(0).permutation(len(examples))[:rows]
    return [examples[i] for i in order]
