"""Methods compared at their own best rates, on seeds that took no part in the choice of the rates.

one task      runs of both methods, paired by seed ──> mean difference with a t interval
all tasks     mean of the tasks' estimates, which are independent: each task has runs of its own
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.statistics.collapse import LEAST_GAIN, CollapseCount, compute_collapse_limits
from reports.statistics.equivalence import EQUIVALENCE_ALPHA, compute_equivalence_p
from reports.statistics.holm import apply_holm
from reports.statistics.student import Student, estimate_mean, merge_estimates
from studies.surface.runs import GROUP, Place, name_places

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05


@dataclass(frozen=True)
class TaskRuns:
    """Confirming runs of one place: method -> seed -> score in points; `collapsed` likewise; method -> its rate.

    `name` is that of the task, with the batch size or the budget where a task has several.
    """

    place: Place
    name: str
    baseline: float
    scores: Mapping[str, Mapping[int, float]]
    collapsed: Mapping[str, Mapping[int, bool]]
    rates: Mapping[str, float]

    @property
    def is_learned(self) -> bool:
        """Whether some method's median gains `LEAST_GAIN` points over the majority baseline."""
        import statistics

        return any(
            statistics.median(scores.values()) - self.baseline >= LEAST_GAIN
            for scores in self.scores.values()
            if scores
        )

    def count_collapses(self, method: str) -> CollapseCount:
        flags = self.collapsed.get(method, {})
        return CollapseCount(sum(flags.values()), len(flags))

    def estimate(self, subject: str, reference: str, *, without_collapses: bool = False) -> Student | None:
        """Mean difference over seeds that both methods have; None of fewer than two, or without spread."""
        first, second = self.scores.get(subject, {}), self.scores.get(reference, {})
        pairs = {seed: first[seed] - second[seed] for seed in first if seed in second}
        if without_collapses:
            pairs = {
                seed: difference
                for seed, difference in pairs.items()
                if not (self.collapsed[subject][seed] or self.collapsed[reference][seed])
            }
        return estimate_mean(list(pairs.values()))


def group_tasks(confirming: pd.DataFrame, margin: float) -> list[TaskRuns]:
    """The confirming runs by place; `margin`: points above the majority baseline up to which a run has collapsed."""
    tasks = []
    names = name_places(confirming)
    for place, group in confirming.groupby(list(GROUP), sort=False):
        scored = group[group["score"].notna()]
        baseline = float(group["majority"].dropna().median()) if group["majority"].notna().any() else 0.0
        scores = {
            str(method): dict(zip(own["seed"].astype(int), own["score"].astype(float), strict=True))
            for method, own in scored.groupby("method", sort=False)
        }
        limits = compute_collapse_limits({m: list(values.values()) for m, values in scores.items()}, baseline, margin)
        collapsed = {
            m: {seed: s <= max(limits[m].values()) for seed, s in values.items()} for m, values in scores.items()
        }
        rates = {str(method): float(rate) for method, rate in group.groupby("method", sort=False)["lr"].first().items()}
        tasks.append(TaskRuns(place, names[place], baseline, scores, collapsed, rates))
    return tasks


@dataclass(frozen=True)
class Contrast:
    """The difference of a method to the reference, in points: all runs, and without collapsed runs."""

    subject: str
    reference: str
    tasks: tuple[str, ...]
    all_runs: Student | None
    without_collapses: Student | None
    unknown: tuple[str, ...] = ()
    """Names of tasks without an estimate: of one seed, or with the same difference for all seeds."""

    @property
    def name(self) -> str:
        return f"{self.subject} against {self.reference}"


def contrast(tasks: Sequence[TaskRuns], subject: str, reference: str) -> Contrast:
    """The mean difference over the tasks on which both methods have runs."""
    shared = [task for task in tasks if {subject, reference} <= set(task.scores)]
    estimates = [task.estimate(subject, reference) for task in shared]
    kept = [task.estimate(subject, reference, without_collapses=True) for task in shared]
    return Contrast(
        subject,
        reference,
        tuple(task.name for task in shared),
        merge_estimates([e for e in estimates if e is not None]) if shared and None not in estimates else None,
        merge_estimates([e for e in kept if e is not None]) if shared and None not in kept else None,
        tuple(task.name for task, estimate in zip(shared, estimates, strict=True) if estimate is None),
    )


def decide(estimates: Sequence[Student | None], margin: float) -> list[str]:
    """'better', 'worse', 'equivalent', 'better, by less than the margin' and so on, or 'undecided'.

    A difference is tested against 0 and, at the margin, by two one-sided tests; each kind of test is a Holm family of
    these estimates.
    """
    differs = apply_holm([None if e is None else e.p for e in estimates])
    equal = apply_holm([None if e is None else compute_equivalence_p(e, margin) for e in estimates])
    words = []
    for estimate, p, q in zip(estimates, differs, equal, strict=True):
        is_different, is_equal = p is not None and p < ALPHA, q is not None and q < EQUIVALENCE_ALPHA
        if estimate is None or not (is_different or is_equal):
            words.append("undecided")
        elif not is_different:
            words.append("equivalent")
        else:
            side = "better" if estimate.value > 0 else "worse"
            words.append(f"{side}, by less than the margin" if is_equal else side)
    return words
