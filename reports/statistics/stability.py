"""Stability as an outcome: how often runs collapse, method against method, and what that does to the means."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.record import Record
from reports.compare import compute_differences, estimate_task, find_common_seeds
from reports.frames import Grid, Seeds, get_score, get_seeds
from reports.statistics.collapse import TaskCollapses, list_first
from reports.statistics.comparisons import Comparison
from reports.statistics.seed_pairs import compute_mcnemar_p
from reports.statistics.shared_seeds import estimate_interval
from reports.statistics.student import ROUNDING, Estimate, merge_estimates

DOMINANT_SHARE = 1 / 2
"""Share of the variance of a mean above which a task dominates it."""
STABILITY_COLUMNS = (
    *("suite", "task", "method", "against", "collapsed", "runs", "rate", "rate_low", "rate_high", "rate_upper"),
    *("only_method_collapsed", "only_baseline_collapsed", "mcnemar_p", "mean", "mean_low", "mean_high"),
    *("mean_without_collapsed", "mean_without_collapsed_low", "mean_without_collapsed_high"),
    *("majority_baseline", "attained", "learned"),
)


def estimate_without_collapsed(
    grid: Grid,
    method: str,
    tasks: Sequence[str],
    average: str,
    collapses: Mapping[str, TaskCollapses],
    mean: Estimate | None,
) -> Estimate | None:
    """The mean over tasks of the runs that did not collapse; `mean`, that of all runs, where none did.

    None where all runs of a task collapsed. The tasks are independent here, as each may lack other seeds.
    """
    if not any(_count_collapsed(collapses, task, method) for task in tasks):
        return mean
    parts = [estimate_task_without_collapsed(grid, task, method, average, collapses) for task in tasks]
    present = [part for part in parts if part is not None]
    if len(present) < len(parts) or not present:
        return None
    value = statistics.fmean(part.mean for part in present)
    intervals = [part.interval for part in present if part.interval is not None]
    merged = merge_estimates(intervals) if len(intervals) == len(present) else None
    return Estimate(value, min(part.n for part in present), merged)


def estimate_task_without_collapsed(
    grid: Grid, task: str, method: str, average: str, collapses: Mapping[str, TaskCollapses]
) -> Estimate | None:
    """The mean of the task's runs that did not collapse; None where no run is left."""
    if not _count_collapsed(collapses, task, method):
        return estimate_task(grid, task, method, average)
    reasons = collapses[task].reasons
    scores = {get_seeds(r): get_score(r, average) for r in grid.of(task, method) if r.key not in reasons}
    return estimate_interval({seeds: score for seeds, score in scores.items() if score is not None})


def _count_collapsed(collapses: Mapping[str, TaskCollapses], task: str, method: str) -> int:
    one = collapses.get(task)
    return one.shares[method].collapsed if one and method in one.shares else 0


# ---------------------------------------------------------------- method against method


def build_stability_rows(
    grid: Grid, baseline: str, average: str, collapses: Mapping[str, TaskCollapses]
) -> list[dict[str, Any]]:
    """One row per task and method: its collapsed runs, the exact paired test against the baseline, and its means."""
    return [
        _build_stability_row(grid, task, method, baseline, average, collapses)
        for task in grid.tasks
        for method in grid.methods
        if method in collapses[task].shares
    ]


def _build_stability_row(
    grid: Grid, task: str, method: str, baseline: str, average: str, collapses: Mapping[str, TaskCollapses]
) -> dict[str, Any]:
    one = collapses[task]
    share = one.shares[method]
    only_method, only_baseline = count_discordant(grid, task, method, baseline, one)
    every = estimate_task(grid, task, method, average)
    without = estimate_task_without_collapsed(grid, task, method, average, collapses)
    low, high = share.interval
    row: dict[str, Any] = {"suite": grid.suite, "task": task, "method": method, "against": baseline}
    row |= {"collapsed": share.collapsed, "runs": share.runs, "rate": share.collapsed / share.runs}
    row |= {"rate_low": low, "rate_high": high, "rate_upper": share.upper}
    row |= {"only_method_collapsed": only_method, "only_baseline_collapsed": only_baseline}
    row["mcnemar_p"] = None if method == baseline else compute_mcnemar_p(only_method, only_baseline)
    for name, estimate in (("mean", every), ("mean_without_collapsed", without)):
        row |= {name: estimate.mean if estimate else None}
        row |= {f"{name}_low": estimate.low if estimate else None, f"{name}_high": estimate.high if estimate else None}
    return row | {"majority_baseline": one.baseline, "attained": one.attained, "learned": one.is_learned}


def count_discordant(grid: Grid, task: str, method: str, baseline: str, one: TaskCollapses) -> tuple[int, int]:
    """Seeds on which only the method's run collapsed, and those on which only the baseline's did."""
    broken, other = (_find_collapsed_seeds(grid.of(task, name), one) for name in (method, baseline))
    common = find_common_seeds([broken, other])
    return sum(broken[s] and not other[s] for s in common), sum(other[s] and not broken[s] for s in common)


def _find_collapsed_seeds(records: Sequence[Record], one: TaskCollapses) -> dict[Seeds, bool]:
    """Seeds -> whether the run collapsed; a run without a score counts only if its loss or score was not finite."""
    scored = [record for record in records if record.status == "ok" or record.key in one.reasons]
    return {get_seeds(record): record.key in one.reasons for record in scored}


# ---------------------------------------------------------------- what collapses do to a mean


@dataclass(frozen=True)
class Domination:
    """`task`, on which runs of these methods collapsed, makes up `share` of the variance of their mean difference."""

    method: str
    first: str
    task: str
    share: float


def find_dominations(comparisons: Iterable[Comparison], grid: Grid, average: str) -> list[Domination]:
    """Of the differences on a mean over several tasks, those with more than half of the variance from one such task."""
    dominations = []
    for c in comparisons:
        collapsed = []
        for one in c.collapses:
            if any(one.shares[m].collapsed for m in (c.method, c.first) if m in one.shares):
                collapsed.append(one.task)
        if not c.whole or len(c.tasks) < 2 or not collapsed:
            continue
        gaps = [compute_differences(grid, task, c.method, c.first, average) for task in c.tasks]
        shares = dict(zip(c.tasks, compute_variance_shares(gaps), strict=True))
        dominations += [
            Domination(c.method, c.first, task, shares[task]) for task in collapsed if shares[task] > DOMINANT_SHARE
        ]
    return dominations


def compute_variance_shares(gaps: Sequence[Mapping[Seeds, float]]) -> list[float]:
    """The share that each task has in the variance of the mean over tasks; they add up to 1. 0 without any spread.

    A task's share is the covariance of its values with the mean, over the seeds that all tasks have.
    """
    import numpy as np

    common = find_common_seeds(gaps)
    if len(common) < 2:
        return [0.0] * len(gaps)
    values = np.empty((len(gaps), len(common)))
    for task, of_task in enumerate(gaps):
        values[task] = [of_task[seeds] for seeds in common]
    centred = values - values.mean(axis=1, keepdims=True)
    mean = centred.mean(axis=0)
    total = float(mean @ mean)
    # rounding of equal differences is no spread to share out
    if total <= (ROUNDING * max(1.0, float(np.abs(values).max()))) ** 2:
        return [0.0] * len(gaps)
    return [float(share) for share in centred @ mean / len(gaps) / total]


def describe_dominations(dominations: Sequence[Domination]) -> list[str]:
    """One sentence per task and baseline."""
    groups: dict[tuple[str, str], list[Domination]] = {}
    for one in dominations:
        groups.setdefault((one.task, one.first), []).append(one)
    sentences = []
    for (task, first), group in groups.items():
        # rounding may leave a share a little above 1
        shares = [min(1.0, one.share) for one in group]
        low, high = (f"{100 * share:.0f}" for share in (min(shares), max(shares)))
        percent = f"{low} %" if low == high else f"{low} to {high} %"
        methods = list_first([one.method for one in group])
        sentences.append(
            f"Collapsed runs dominate the mean: {task} makes up {percent} of the variance of the difference to {first} "
            f"({methods})."
        )
    return sentences
