"""Which runs collapsed, and on which tasks no method learned anything: one rule for the whole report.

A run has collapsed if its loss or score is not finite, or if on a task that is learned one of these holds:

1. It gives the same prediction for every example.
2. It ends at most the declared margin (`--collapse-margin`, 2 points by default) above the majority baseline.
3. It lies far below the best run of its method: it gains at most `LEAST_SHARE` of what the task's best method gains
   over the majority baseline, and the method's best run gains more than that and at least twice as much as it.
4. It lies `FAR_BELOW` points or more below the median of its own method, has lost at least `LARGE_LOSS` of that
   median's gain over the baseline, and lies `FAR_OUT` standard deviations below or more. The standard deviation is that
   of the better half: its median less that of all, over the normal distribution's. This holds on any task.

The best method is the one with the highest median; the best run less `BY_LUCK` points counts where that is more. A task
is learned if the best method gains `LEAST_GAIN` points or more. A task that records no majority baseline
(correlations, BLEU) has the baseline 0. A method whose runs, two or more, all collapsed has not learned the task: that
is no chance of its seeds.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.core.primary import DEFAULT_COLLAPSE_MARGIN
from harness.core.record import Record
from reports.compare import collect_scores_by_key
from reports.frames import Grid, format_seeds

LEAST_GAIN = 5.0
LEAST_SHARE = 1 / 3
LOST_OF_BEST = 1 / 2
FAR_BELOW = 10.0
LARGE_LOSS = 1 / 3
BY_LUCK = 15.0
FAR_OUT = 4.0
QUARTILE = 0.6745
"""The upper quartile of the standard normal distribution."""
NOT_FINITE = "loss or score is not finite"
CONSTANT = "the same prediction for every example"
AT_BASELINE = "no better than the majority baseline plus the margin"
BELOW_BEST = "far below the best run of its method"
DROPPED = "far below the median of its method"


@dataclass(frozen=True)
class CollapseCount:
    """`collapsed` of `runs` runs of one method on one task."""

    collapsed: int
    runs: int

    @property
    def is_never_learned(self) -> bool:
        """Every run of two or more collapsed."""
        return 2 <= self.runs == self.collapsed

    @property
    def interval(self) -> tuple[float, float]:
        """The two-sided 95 % interval of the rate of collapses (Wilson 1927), 0 to 1."""
        return compute_rate_interval(self.collapsed, self.runs)

    @property
    def upper(self) -> float:
        """One-sided 95 % upper bound of the rate of collapses (Clopper and Pearson 1934)."""
        return compute_upper_rate(self.collapsed, self.runs)

    def __str__(self) -> str:
        return f"{self.collapsed} of {self.runs}"


@dataclass(frozen=True)
class TaskCollapses:
    """Collapsed runs of one task: `reasons` by record key, `shares` by method; points. `attained`: see the module.

    `backbones`: method -> quantization type of its backbone.
    """

    suite: str
    task: str
    baseline: float
    attained: float | None
    reasons: Mapping[str, str]
    shares: Mapping[str, CollapseCount]
    backbones: Mapping[str, str]

    @property
    def is_learned(self) -> bool:
        return self.attained is not None and self.attained - self.baseline >= LEAST_GAIN

    @functools.cached_property
    def _collapsed_shares(self) -> Mapping[str, CollapseCount]:
        """The shares of methods of which a run collapsed: each comparison asks for them."""
        return {name: share for name, share in self.shares.items() if share.collapsed}

    def describe_refusal(self, *methods: str) -> str:
        """Why no equivalence of these methods can be claimed here; '' where nothing speaks against it.

        A single collapsed run of any method shows that seeds of the task do collapse. A method that never learned the
        task says nothing of the seeds of others, nor does one on a backbone of another quantization type: a backbone
        of 2 bits may fail where one of 8 bits does not.
        """
        if not self.is_learned:
            return f"no method gains {LEAST_GAIN:g} points over the majority baseline on {self.task}"
        alike = {self.backbones[name] for name in methods if name in self.backbones}
        collapsed = [
            f"{name} {share}"
            for name, share in self._collapsed_shares.items()
            if name in methods or (not share.is_never_learned and self.backbones[name] in alike)
        ]
        return f"runs on {self.task} collapsed ({list_first(collapsed)})" if collapsed else ""


def list_first(names: Sequence[str], most: int = 4, separator: str = ", ") -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more


def compute_upper_rate(collapsed: int, runs: int, level: float = 0.95) -> float:
    """One-sided upper bound of a rate of which `collapsed` of `runs` were seen (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    return 1.0 if collapsed >= runs else float(betaincinv(collapsed + 1, runs - collapsed, level))


@functools.lru_cache(maxsize=4096)  # a report has the same few counts many times
def compute_rate_interval(collapsed: int, runs: int) -> tuple[float, float]:
    """The two-sided 95 % interval of a rate of which `collapsed` of `runs` were seen (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(collapsed, runs).proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high)


def find_collapses(
    grid: Grid,
    average: str,
    constant: Mapping[str, Collection[str]] | None = None,
    margin: float = DEFAULT_COLLAPSE_MARGIN,
) -> dict[str, TaskCollapses]:
    """Task -> its collapsed runs.

    `constant`: task -> keys of runs that predict one value for all examples. `margin`: points above the majority
    baseline up to which a run has collapsed.
    """
    keys = constant or {}
    return {task: find_task_collapses(grid, task, average, keys.get(task, ()), margin) for task in grid.tasks}


def find_task_collapses(grid: Grid, task: str, average: str, constant: Collection[str], margin: float) -> TaskCollapses:
    """The collapsed runs of one task."""
    scores: dict[str, float] = {}
    for method in grid.methods:
        scores |= collect_scores_by_key(grid, task, method, average)
    baselines = [r.majority for r in grid.select_task(task) if r.majority is not None]
    baseline = statistics.median(baselines) if baselines else 0.0
    values: dict[str, list[float]] = {}
    for method in grid.methods:
        values[method] = [scores[r.key] for r in grid.of(task, method) if r.key in scores]
    attained = _find_attained(values)
    learned = attained is not None and attained - baseline >= LEAST_GAIN
    limits = compute_collapse_limits(values, baseline, margin)
    reasons: dict[str, str] = {}
    shares: dict[str, CollapseCount] = {}
    for method in grid.methods:
        # a run that failed for another reason, such as out of memory, tells nothing about collapses
        runs = [r for r in grid.of(task, method) if r.key in scores or has_diverged(r)]
        for run in runs:
            if run.key not in scores:
                reasons[run.key] = NOT_FINITE
            elif learned and run.key in constant:
                reasons[run.key] = CONSTANT
            elif below := [why for why, limit in limits[method].items() if scores[run.key] <= limit]:
                reasons[run.key] = below[0]
        if runs:
            shares[method] = CollapseCount(sum(r.key in reasons for r in runs), len(runs))
    backbones = {method: grid.of(task, method)[0].cell.quantize for method in shares}
    return TaskCollapses(grid.suite, task, baseline, attained, reasons, shares, backbones)


def compute_collapse_limits(
    values: Mapping[str, Sequence[float]], baseline: float, margin: float = DEFAULT_COLLAPSE_MARGIN
) -> dict[str, dict[str, float]]:
    """Method -> reason -> the score at or below which a run of it on a task has collapsed, by rules 2 to 4; points.

    `values`: the scores of each method's runs; one without any has no limits. Rule 1 needs the predictions.
    """
    attained = _find_attained(values)
    limits: dict[str, dict[str, float]] = {method: {} for method in values}
    for method, scores in values.items():
        if attained is None or not scores:
            continue
        if attained - baseline >= LEAST_GAIN:
            limits[method][AT_BASELINE] = baseline + margin
            weak = _compute_weak_limit(scores, baseline, baseline + LEAST_SHARE * (attained - baseline))
            if weak is not None:
                limits[method][BELOW_BEST] = weak
        limits[method][DROPPED] = _compute_drop_limit(scores, baseline)
    return limits


def _find_attained(values: Mapping[str, Sequence[float]]) -> float | None:
    """What the task's best method attains: the highest median, or the best run less what may be luck; None: no run."""
    scores = [score for method_scores in values.values() for score in method_scores]
    if not scores:
        return None
    medians = [statistics.median(method_scores) for method_scores in values.values() if method_scores]
    # a single best run may be luck, so it counts for less than a median
    return max([*medians, max(scores) - BY_LUCK])


def _compute_weak_limit(values: Sequence[float], baseline: float, line: float) -> float | None:
    """The score at or below which a run lies far below the best of its method (rule 3); `line`: that of the task.

    None for a weak method: where all of its runs lie below the line, none of its seeds differs from the others. Where
    they lie on both sides of it but differ by little, none has collapsed either.
    """
    best = max(values)
    return None if best <= line else min(line, baseline + (1 - LOST_OF_BEST) * (best - baseline))


def _compute_drop_limit(values: Sequence[float], baseline: float) -> float:
    """The score at or below which a run of the method has dropped far below the others (rule 4)."""
    median = statistics.median(values)
    # collapsed runs would widen the limit that is to find them
    better_half = sorted(values)[len(values) // 2 :]
    spread = (statistics.median(better_half) - median) / QUARTILE
    return median - max(FAR_BELOW, LARGE_LOSS * (median - baseline), FAR_OUT * spread)


def has_diverged(record: Record) -> bool:
    """Whether the run diverged: it stopped at a loss that is not finite, or has a score that is no number."""
    if record.status == "ok":
        return not all(map(math.isfinite, record.scores.values()))
    return "not finite" in (record.reason or "")


def join_refusals(collapses: Iterable[TaskCollapses], *methods: str) -> str:
    """Why no equivalence of these methods can be claimed on these tasks; '' where nothing speaks against it."""
    return "; ".join(filter(None, (one.describe_refusal(*methods) for one in collapses)))


def describe_collapses(collapses: Sequence[TaskCollapses], *methods: str) -> str:
    """How many runs of each method collapsed on these tasks, and the rates that so many runs still allow."""
    parts = []
    for method in dict.fromkeys(methods):
        shares = [one.shares[method] for one in collapses if method in one.shares]
        if not shares:
            continue
        collapsed, runs = sum(s.collapsed for s in shares), sum(s.runs for s in shares)
        if len(shares) == 1:
            parts.append(f"{method} {shares[0]} (at most {100 * shares[0].upper:.0f} %)")
        else:
            upper = 100 * max(share.upper for share in shares)
            parts.append(f"{method} {collapsed} of {runs} (at most {upper:.0f} % on a task)")
    return f"Collapsed runs, with the one-sided 95 % bound of their rate: {', '.join(parts)}." if parts else ""


def format_runs(records: Iterable[Record]) -> str:
    """The runs for reading, five at most."""
    return list_first([f"{r.cell.label} on {r.cell.task} (seeds {format_seeds(r.cell.seeds)})" for r in records], 5)
