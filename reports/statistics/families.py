"""Which question a comparison answers, and how its p is corrected: each role is a family of its own.

primary      the declared pairs on the suite's average            Holm
secondary    the same pairs on each task                          Benjamini-Hochberg
exploratory  every other comparison                               Benjamini-Hochberg

By default every method is compared with the first one. `--primary "lorasp vs lora, lorasp vs lora:rank=8"` names others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from reports.statistics.comparisons import Comparison
from reports.statistics.holm import apply_holm

Role = Literal["primary", "secondary", "exploratory"]
ROLES: tuple[Role, ...] = ("primary", "secondary", "exploratory")
CORRECTIONS: Mapping[Role, str] = {
    "primary": "Holm",
    "secondary": "Benjamini-Hochberg",
    "exploratory": "Benjamini-Hochberg",
}
"""Role -> how its family is corrected."""
Pair = tuple[str, str]
"""(method, the one it is compared with)."""
Pairs = Mapping[str, Collection[Pair]]
"""Suite -> its primary pairs."""


def find_twin(c: Comparison, comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison on the one task that the mean is over; None of any other, and where a cell failed."""
    if not c.whole or len(c.tasks) != 1 or c.failed:
        return None
    place = (c.suite, c.method, c.first, c.tasks)
    return next((o for o in comparisons if not o.whole and (o.suite, o.method, o.first, o.tasks) == place), None)


def assign_roles(comparisons: Sequence[Comparison], pairs: Pairs) -> list[Role]:
    """The role of each comparison, in the same order.

    Primary is the mean over tasks, or its only task. Where a suite has no average, all tasks of the pair are primary.
    """
    averaged = {(c.suite, c.method, c.first) for c in comparisons if c.whole}
    twins = {id(find_twin(c, comparisons)) for c in comparisons if c.whole}
    return [
        "exploratory"
        if (c.method, c.first) not in pairs.get(c.suite, ())
        else "primary"
        if c.whole or id(c) in twins or (c.suite, c.method, c.first) not in averaged
        else "secondary"
        for c in comparisons
    ]


def correct_family(role: Role, values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p of one family, in the same order; None (no test) stays None and does not count."""
    return apply_holm(values) if role == "primary" else control_false_discoveries(values)


def control_false_discoveries(values: Sequence[float | None]) -> list[float | None]:
    """p adjusted for the false discovery rate (Benjamini and Hochberg 1995); None stays None and does not count."""
    from scipy.stats import false_discovery_control

    tested = [p for p in values if p is not None]
    adjusted = iter(false_discovery_control(tested).tolist() if tested else [])
    return [None if p is None else float(next(adjusted)) for p in values]
