"""The best learning rate of each method and task, chosen on validation scores, with an interval over seeds.

The eval splits take no part in the choice: a score at a rate that was chosen by that score is too high by chance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.core.protocol import LIMITS
from studies.surface.runs import GROUP, Place

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

DIGITS = 6
"""Mean scores that differ by less are equal: rounding must not choose a rate."""
DRAWS, SEED = 2000, 0
"""Bootstrap draws of the search seeds."""


@dataclass(frozen=True)
class BestRate:
    """The chosen rate of one method at one place.

    rates       the rates tried, ascending, without those at which a run has no score (`diverged`)
    means       mean validation score at each of them, in points
    drawn       the rate chosen in each bootstrap draw of the seeds [DRAWS]; draws are shared by all methods of a place
    edge        whether it is the lowest or highest rate tried, so that a better one may lie beyond
    """

    place: Place
    method: str
    rate: float
    rates: tuple[float, ...]
    means: tuple[float, ...]
    drawn: np.ndarray
    edge: Literal["", "lowest", "highest"]
    diverged: tuple[float, ...]
    seeds: int

    @property
    def is_flat(self) -> bool:
        """Whether all rates have the same score, as where a method learns nothing at any: then none is the best."""
        return _are_alike(self.means)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the draws chose a rate within."""
        import numpy as np

        low, high = np.quantile(self.drawn, [0.025, 0.975], method="nearest")
        return float(low), float(high)

    def compute_ratio(self, reference: BestRate) -> tuple[float, float, float]:
        """The ratio of the rates, with the 95 % interval of the ratio over draws."""
        import numpy as np

        low, high = np.quantile(self.drawn / reference.drawn, [0.025, 0.975], method="nearest")
        return self.rate / reference.rate, float(low), float(high)

    def compute_usable_octaves(self, within: float) -> float:
        """Width of the range of rates whose mean lies at most `within` points below the best one, in factors of 2.

        Each rate stands for the range half way to its neighbours on a log scale.
        """
        logs = [math.log2(rate) for rate in self.rates]
        usable = [mean >= max(self.means) - within for mean in self.means]
        if len(logs) < 2:
            return 0.0
        bounds = [
            logs[0] - (logs[1] - logs[0]) / 2,
            *((a + b) / 2 for a, b in itertools.pairwise(logs)),
            logs[-1] + (logs[-1] - logs[-2]) / 2,
        ]
        widths = [b - a for a, b in itertools.pairwise(bounds)]
        return sum(width for width, good in zip(widths, usable, strict=True) if good)


def draw_seeds(count: int) -> np.ndarray:
    """Bootstrap draws [DRAWS, count] of the numbers of `count` seeds, the same each time."""
    import numpy as np

    return np.random.default_rng(SEED).integers(count, size=(DRAWS, count))


def choose_rates(runs: pd.DataFrame) -> dict[tuple[Place, str], BestRate]:
    """(place, method) -> its best rate, of the runs of the search; without those that no rate has a score for."""
    search = runs[runs["stage"] == "search"]
    best: dict[tuple[Place, str], BestRate] = {}
    for place, group in search.groupby(list(GROUP), sort=False):
        seeds = sorted(set(group["seed"]))
        draws = draw_seeds(len(seeds))
        for method, own in group.groupby("method", sort=False):
            if own["lr"].nunique() > 1:
                found = _choose_rate(place, str(method), own, seeds, draws)
                if found is not None:
                    best[place, str(method)] = found
    return best


def _choose_rate(
    place: Any, method: str, own: pd.DataFrame, seeds: Sequence[int], draws: np.ndarray
) -> BestRate | None:
    import numpy as np

    table = own.pivot_table(index="seed", columns="lr", values="validation", aggfunc="mean", dropna=False)
    table = table.reindex(seeds)
    # the mean over the seeds that succeeded would favour a rate at which the others diverge
    complete = [rate for rate in table.columns if table[rate].notna().sum() == own[own["lr"] == rate]["seed"].nunique()]
    diverged = tuple(float(rate) for rate in table.columns if rate not in complete)
    scores = table[complete].dropna()
    if not complete or scores.empty:
        return None
    values = scores.to_numpy()
    means = values.mean(axis=0)
    rates = np.array(complete, dtype=float)
    # of equal means the higher rate: rounding must not decide where scores of few rows tie
    chosen = len(means) - 1 - int(means.round(DIGITS)[::-1].argmax())
    # rows of the draws stand for seeds; seeds that this method lacks are drawn anew among those it has
    drawn_means = values[draws % len(values)].mean(axis=1).round(DIGITS)
    tried = sorted(float(rate) for rate in table.columns)
    rate = float(rates[chosen])
    edge: Literal["", "lowest", "highest"] = "lowest" if rate == tried[0] else "highest" if rate == tried[-1] else ""
    if _are_alike(means):
        edge = ""
    return BestRate(
        place,
        method,
        rate,
        tuple(map(float, rates)),
        tuple(map(float, means)),
        rates[len(rates) - 1 - drawn_means[:, ::-1].argmax(axis=1)],
        edge,
        diverged,
        len(values),
    )


def _are_alike(means: Sequence[float]) -> bool:
    return max(means) - min(means) < 10.0**-DIGITS


def extend_rates(best: BestRate, steps: int = 2) -> tuple[float, ...]:
    """Rates beyond the edge at which the best one lies, in the grid's own step; empty for one inside."""
    tried = sorted((*best.rates, *best.diverged))
    if not best.edge or len(tried) < 2:
        return ()
    first, second = (tried[-1], tried[-2]) if best.edge == "highest" else (tried[0], tried[1])
    factor = first / second
    rates = [float(f"{first * factor**i:.2g}") for i in range(1, steps + 1)]
    # two digits of a narrow step may be a rate that was tried; a rate may also leave the range that a run allows
    return tuple(
        rate for rate in rates if (rate > first) == (factor > 1) and rate not in tried and 0 < rate <= LIMITS["lr"]
    )
