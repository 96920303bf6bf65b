"""Holm's correction over all comparisons of a report."""

from __future__ import annotations

from collections.abc import Sequence


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p in the same order; None (no test) stays None and does not count."""
    tested = [p for p in values if p is not None]
    if len(tested) < 2:
        return list(values)  # one is its own family; multipletests also collects garbage, which takes 50 ms
    from statsmodels.stats.multitest import multipletests

    adjusted = iter(multipletests(tested, method="holm")[1].tolist())
    return [None if p is None else next(adjusted) for p in values]
