"""Rows of the generated tasks: how many there are, how they are drawn, and the sentiment rows of suite domain.

The other tasks are drawn by scripts/embedded; their rows ship as files.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from suites.embedded import reviews

Row = tuple[str, ...]
TRAIN_ROWS = 640
DEV_ROWS = 480

Maker = Callable[[random.Random], Row]


def add_label_noise(rng: random.Random, label: int, classes: int, chance: float) -> int:
    """The label, or with probability `chance` another one, as human annotators disagree."""
    if rng.random() >= chance:
        return label
    return (label + rng.randrange(1, classes)) % classes


def draw_distinct_rows(make: Maker, rng: random.Random, count: int, seen: set[Row]) -> list[Row]:
    """Draw rows whose text has not been seen, and remember them."""
    rows: list[Row] = []
    while len(rows) < count:
        row = make(rng)
        if row[:-1] not in seen:
            seen.add(row[:-1])
            rows.append(row)
    return rows


def draw_sst2(rng: random.Random) -> Row:
    """Sentiment of a review: 1 positive, 0 negative."""
    label = rng.randrange(2)
    return " ".join(reviews.draw_review(rng, bool(label))), str(add_label_noise(rng, label, 2, 0.07))
