"""The methods that are tied with the best one: those not shown to be worse than the method with the highest mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reports.statistics.power import ALPHA
from reports.statistics.student import Student


@dataclass(frozen=True)
class BestGroup:
    """`best` has the highest mean; `members`, itself included, are tied with it."""

    best: str
    members: frozenset[str]


def find_best_group(means: Mapping[str, float], below_best: Mapping[str, Student | None]) -> BestGroup | None:
    """The group of the best; None of no methods.

    `means`: method -> mean score. `below_best`: method -> its paired difference to the method with the highest mean,
    None where there is no interval: nothing is shown then, so the method stays in the group.

    A method is left out if a one-sided t-test at 5 % / (k - 1) shows it to be worse, k being the number of methods. The
    truly best method is left out only if one of the k - 1 others is shown to be better than it, which by Bonferroni
    happens in 5 % of studies at most, whichever method has the highest mean.
    """
    if not means:
        return None
    best = pick_best(means)
    # Bonferroni over the k - 1 methods that may be the best
    level = ALPHA / max(1, len(means) - 1)
    worse = {m for m, e in below_best.items() if m != best and e is not None and e.p_below(0.0) < level}
    return BestGroup(best, frozenset(m for m in means if m not in worse))


def pick_best(means: Mapping[str, float]) -> str:
    """The method with the highest mean, of equals the first."""
    return max(means, key=lambda method: means[method])
