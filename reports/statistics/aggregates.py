"""One number over runs and tasks: interquartile mean and probability of improvement (rliable, arXiv 2108.13264).

Runs are resampled within each task. A method and the one it is compared with have paired seeds, so a draw takes the
same seeds of both.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.statistics.bootstrap import indices, studentised
from reports.statistics.student import Student

if TYPE_CHECKING:
    import numpy as np

Scores = Sequence[Sequence[float]]
"""One sequence of run scores per task; of two methods, the runs of a task are in the same order of seeds."""


@dataclass(frozen=True)
class Aggregate:
    """`value`, and its 95 % interval where runs vary."""

    value: float
    interval: Student | None


def interquartile_mean(scores: Scores, rng: np.random.Generator) -> Aggregate:
    """Mean of the middle half of all runs of all tasks."""
    import numpy as np

    resampled = middle_mean(resample(scores, indices(rng, [len(s) for s in scores])))
    value = float(middle_mean(np.concatenate([np.asarray(s) for s in scores])[None])[0])
    return Aggregate(value, studentised(value, resampled, scores))


def difference_of_iqm(method: Scores, first: Scores, rng: np.random.Generator) -> Aggregate:
    """IQM of the method less that of the first, seeds paired."""
    import numpy as np

    drawn = indices(rng, [len(s) for s in method])
    resampled = middle_mean(resample(method, drawn)) - middle_mean(resample(first, drawn))
    value = float(
        np.subtract(*(middle_mean(np.concatenate([np.asarray(s) for s in x])[None])[0] for x in (method, first)))
    )
    return Aggregate(value, studentised(value, resampled, gaps(method, first)))


def gaps(method: Scores, first: Scores) -> list[list[float]]:
    """Paired differences, per task."""
    return [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(method, first, strict=True)]


def resample(scores: Scores, drawn: Sequence[Any]) -> Any:
    """Each draw's runs of all tasks side by side [draws, runs]."""
    import numpy as np

    return np.concatenate([np.asarray(s)[rows] for s, rows in zip(scores, drawn, strict=True)], axis=1)


def middle_mean(values: Any) -> Any:
    """25 % trimmed mean of each row [rows, n]: the lowest and highest int(n / 4) values are left out.

    By hand, as scipy.stats takes a third of a second to import.
    """
    import numpy as np

    count = values.shape[1]
    cut = count // 4
    return np.sort(values, axis=1)[:, cut : count - cut].mean(axis=1)


def probability_of_improvement(method: Scores, first: Scores, rng: np.random.Generator) -> Aggregate:
    """P(a run of the method is above a run of the first), ties count half; the mean over tasks.

    Every run of one is set against every run of the other (Mann and Whitney's U over its maximum). No interval where
    all runs of one are above all of the other's: resampling then shows no spread, which is no certainty.
    """
    import numpy as np

    drawn = indices(rng, [len(s) for s in method])
    above = [wins(x, y) for x, y in zip(method, first, strict=True)]
    per_task = [w[rows[:, :, None], rows[:, None, :]].mean(axis=(1, 2)) for w, rows in zip(above, drawn, strict=True)]
    value = statistics.fmean(float(w.mean()) for w in above)
    strata = [w.mean(axis=1) - w.mean(axis=0) for w in above]
    return Aggregate(value, studentised(value, np.mean(per_task, axis=0), strata))


def wins(x: Sequence[float], y: Sequence[float]) -> Any:
    """1 where run i of x is above run j of y, 0.5 where equal, else 0 [len(x), len(y)]."""
    import numpy as np

    gap = np.subtract.outer(np.asarray(x), np.asarray(y))
    return (np.sign(gap) + 1) / 2
