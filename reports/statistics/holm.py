"""Holm's correction over all comparisons of a report."""

from __future__ import annotations

from collections.abc import Sequence


def apply_holm(values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the same order; None (no test) stays None and does not count.

    statsmodels' Holm (1979) correction, where values that are missing are left out of the family.
    """
    tested = [p for p in values if p is not None]
    if not tested:
        return list(values)
    from statsmodels.stats.multitest import multipletests

    adjusted = iter(multipletests(tested, method="holm")[1].tolist())
    return [None if p is None else next(adjusted) for p in values]
