"""What a model that always says the same would score."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.method import Suite, Task, TaskData


def score_majority_baseline(suite: Suite, task: Task, data: TaskData, names: Sequence[str] = ()) -> float:
    """Mean in points over the scores `names` (none: all) if the best one class is told for each row of each split.

    0 for a regression: a constant has no correlation.
    """
    import numpy as np

    targets = {split: np.array([row.label for row in data.splits[split]]) for split in task.eval_splits}
    best = 0.0
    for constant in range(len(task.labels)):
        split_scores = [
            suite.score(task.name, split, np.full_like(true, constant), true) for split, true in targets.items()
        ]
        scores = [value for part in split_scores for name, value in part.items() if not names or name in names]
        best = max(best, sum(scores) / len(scores))
    return best
