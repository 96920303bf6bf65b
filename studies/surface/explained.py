"""What share of a difference between two methods another difference makes up, over the same seeds.

total         subject - reference                          such as lorasp - lora
explained     one method - another                         such as lora:rank=8 - lora, for fewer parameters
share         explained / total, with Fieller's interval   both are means over tasks, paired by seed
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from reports.statistics.student import Student, compute_t_quantile, estimate_mean, merge_estimates
from studies.surface.contrasts import ALPHA, TaskRuns

Outcome = Literal["score", "score without collapsed runs", "collapsed"]
"""Score in points; the same without seeds at which one of the methods collapsed; collapsed runs in percent."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class Pairing:
    """Differences of one task by seed: `total` [n] and `explained` [n]."""

    total: Sequence[float]
    explained: Sequence[float]

    def mix(self, share: float) -> list[float]:
        """explained - share x total, at each seed."""
        return [e - share * t for e, t in zip(self.explained, self.total, strict=True)]


@dataclass(frozen=True)
class Explained:
    """A difference that explains a part of the total one.

    `pairings` is empty where a task has fewer than two seeds; an estimate is None there and without any spread.
    """

    pairings: Sequence[Pairing]
    total: Student | None
    difference: Student | None

    @property
    def mean(self) -> float:
        """The mean explained difference; for pairings only."""
        return statistics.fmean(statistics.fmean(pairing.explained) for pairing in self.pairings)

    @property
    def share(self) -> tuple[float, float, float] | None:
        """(share, low, high) of 95 % (Fieller 1954). None where the total is not significant: no bound exists then."""
        if self.total is None or self.total.p >= ALPHA:
            return None
        t = compute_t_quantile(self.total.df)
        var_total, var_explained, covariance = self._compute_variances()
        value = self.mean
        # All shares s for which `value - s x total` is within t standard errors of 0: the roots of a quadratic in s.
        a = self.total.value**2 - t**2 * var_total
        b = value * self.total.value - t**2 * covariance
        c = value**2 - t**2 * var_explained
        root = math.sqrt(max(0.0, b * b - a * c))
        return value / self.total.value, (b - root) / a, (b + root) / a

    def test_share(self, share: float) -> Student | None:
        """The estimate of explained - share x total: positive where more than that share is explained."""
        return _merge_tasks([pairing.mix(share) for pairing in self.pairings])

    def _compute_variances(self) -> tuple[float, float, float]:
        """Variance of the mean total, of the mean explained difference, and their covariance."""
        sums = [0.0, 0.0, 0.0]
        for pairing in self.pairings:
            n = len(pairing.total) * len(self.pairings) ** 2
            sums[0] += statistics.variance(pairing.total) / n
            sums[1] += statistics.variance(pairing.explained) / n
            sums[2] += statistics.covariance(pairing.total, pairing.explained) / n
        return sums[0], sums[1], sums[2]


def explain(
    tasks: Sequence[TaskRuns], total: tuple[str, str], explained: tuple[str, str], outcome: Outcome = "score"
) -> Explained:
    """Both differences (first method - second) over the seeds that all of their methods have, on their common tasks."""
    methods = {*total, *explained}
    pairings = [
        _pair_seeds(task, total, explained, outcome)
        for task in tasks
        if all(task.scores.get(method) for method in methods)
    ]
    if not pairings or any(len(pairing.total) < 2 for pairing in pairings):
        return Explained((), None, None)
    return Explained(pairings, _merge_tasks([p.total for p in pairings]), _merge_tasks([p.explained for p in pairings]))


def _pair_seeds(task: TaskRuns, total: tuple[str, str], explained: tuple[str, str], outcome: Outcome) -> Pairing:
    methods = list(dict.fromkeys([*total, *explained]))
    seeds = [seed for seed in task.scores[methods[0]] if all(seed in task.scores[m] for m in methods)]
    if outcome == "score without collapsed runs":
        seeds = [seed for seed in seeds if not any(task.collapsed[m][seed] for m in methods)]
    values: Mapping[str, Mapping[int, float]] = task.scores
    if outcome == "collapsed":
        values = {m: {seed: 100.0 * flag for seed, flag in task.collapsed[m].items()} for m in methods}
    first, second = ([values[one][seed] - values[other][seed] for seed in seeds] for one, other in (total, explained))
    return Pairing(first, second)


def _merge_tasks(by_task: Sequence[Sequence[float]]) -> Student | None:
    """The mean over tasks; a task without spread adds its mean and no variance. None where no task has spread."""
    estimates = [estimate_mean(list(values)) for values in by_task]
    varying = [estimate for estimate in estimates if estimate is not None]
    if not varying:
        return None
    merged, count = merge_estimates(varying), len(by_task)
    value = statistics.fmean(statistics.fmean(values) for values in by_task)
    return Student(value, merged.se * len(varying) / count, merged.df)
