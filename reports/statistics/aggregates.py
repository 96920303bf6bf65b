"""One number over runs and tasks: interquartile mean within tasks, and probability of improvement.

Scores [tasks][runs]; of two methods, the runs of a task are in the same order of seeds. Intervals are closed forms:
nothing is resampled.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports.statistics.student import Student, compute_satterthwaite_df, has_no_spread

Scores = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Aggregate:
    """`value`, and its 95 % interval where runs vary."""

    value: float
    interval: Student | None


def compute_iqm(scores: Scores) -> Aggregate:
    """The 25 % trimmed mean of the runs of each task, and the mean of that over tasks.

    rliable's (arXiv 2108.13264) trims all runs of all tasks together. Of raw scores that leaves out whole tasks, the
    easiest and the hardest, where it should leave out the best and worst runs. Standard error from the winsorized
    variance, with Student's t (Tukey and McLaughlin 1963).
    """
    return _average_over_tasks([(compute_trimmed_mean(runs), *_estimate_trimmed_error(runs)) for runs in scores])


def compute_iqm_difference(method: Scores, first: Scores) -> Aggregate:
    """Interquartile mean of the method less that of the first, seeds paired (Yuen 1974; Wilcox 2012, section 5.9.5)."""
    parts = [
        (compute_trimmed_mean(x) - compute_trimmed_mean(y), *_estimate_trimmed_error(x, y))
        for x, y in zip(method, first, strict=True)
    ]
    return _average_over_tasks(parts)


def compute_trimmed_mean(values: Sequence[float]) -> float:
    """The mean less the lowest and the highest int(n / 4) values, as scipy.stats.trim_mean(values, 0.25) gives it."""
    cut = len(values) // 4
    return statistics.fmean(sorted(values)[cut : len(values) - cut])


def _estimate_trimmed_error(method: Sequence[float], first: Sequence[float] | None = None) -> tuple[float, int]:
    """Squared standard error of a trimmed mean, or of a difference of two over paired runs; and degrees of freedom."""
    import numpy as np

    n, cut = len(method), len(method) // 4
    remaining = n - 2 * cut
    if n < 2:
        return 0.0, 0
    # each method is winsorized by itself and the pairs stay together: Yuen's variance with its covariance
    winsorized = [_winsorize(values, cut) for values in (method, first) if values is not None]
    spread = winsorized[0] - winsorized[1] if first is not None else winsorized[0]
    if has_no_spread(spread.tolist()):
        return 0.0, remaining - 1
    return float(np.sum((spread - spread.mean()) ** 2)) / (remaining * (remaining - 1)), remaining - 1


def _winsorize(values: Sequence[float], cut: int) -> Any:
    import numpy as np

    ordered = sorted(values)
    return np.clip(values, ordered[cut], ordered[len(ordered) - 1 - cut])


def _average_over_tasks(parts: Sequence[tuple[float, float, int]]) -> Aggregate:
    """Mean of independent (value, variance, degrees of freedom)."""
    value = statistics.fmean(task_value for task_value, _, _ in parts)
    used = [(variance / len(parts) ** 2, float(df)) for _, variance, df in parts if variance > 0]
    # Of a task with a single run nothing is known, so there is no interval of a mean that has it.
    if not used or any(df < 1 for _, _, df in parts):
        return Aggregate(value, None)
    variances, dfs = zip(*used, strict=True)
    return Aggregate(value, Student(value, math.sqrt(sum(variances)), compute_satterthwaite_df(variances, dfs)))


def estimate_improvement(method: Scores, first: Scores) -> Aggregate:
    """P(a run of the method is above a run of the first), ties count half; the mean over tasks (arXiv 2108.13264).

    Every run of one is compared with every run of the other (Mann and Whitney's U over its maximum); the variance is
    that of a U-statistic, from what each seed adds through both of its runs (Hoeffding 1948; DeLong et al. 1988). No
    interval where all runs of one are above all of the other's: no spread is seen then, which is no certainty.
    """
    import numpy as np

    parts = []
    for x, y in zip(method, first, strict=True):
        wins, losses = _compute_share_below(y, x), _compute_share_below(x, y)
        value, n = float(wins.mean()), len(x)
        # A seed adds the share that its run of the method beats, and the share that beats its run of the first.
        added = wins + 1 - losses
        variance = float(np.var(added, ddof=1)) / n if n > 1 and not has_no_spread(added.tolist()) else 0.0
        parts.append((value, variance, n - 1))
    aggregate = _average_over_tasks(parts)
    swept = all(value in (0.0, 1.0) for value, _, _ in parts)
    return Aggregate(aggregate.value, None if swept else aggregate.interval)


def _compute_share_below(values: Sequence[float], at: Sequence[float]) -> Any:
    """Share of `values` below each of `at`, equal ones counted half [len(at)]."""
    import numpy as np

    ordered = np.sort(np.asarray(values, dtype=float))
    return (np.searchsorted(ordered, at, "left") + np.searchsorted(ordered, at, "right")) / (2 * len(ordered))
