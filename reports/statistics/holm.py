"""Holm's correction over all comparisons of a report."""

from __future__ import annotations

from collections.abc import Sequence


def apply_holm(values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p in the same order; None (no test) stays None and does not count.

    By hand: statsmodels' takes half a second to import, and collects garbage at each call.
    """
    ordered = sorted((p, place) for place, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, place) in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * p))
        adjusted[place] = highest
    return adjusted
