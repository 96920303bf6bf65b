"""Performance profiles: the share of runs above each score (rliable, arXiv 2108.13264, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reports.statistics.aggregates import Scores
from reports.statistics.bootstrap import DRAWS, draw_counts

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

STEPS = 61


def compute_profiles(methods: Mapping[str, Scores], rng: np.random.Generator) -> pd.DataFrame:
    """Rows of method, score, share, low, high: share of runs above the score, the mean over tasks.

    `low` and `high` are pointwise 95 % percentiles with runs resampled within tasks: a guide for the eye, too narrow
    for few runs, and no basis of a verdict.
    """
    import numpy as np
    import pandas as pd

    every = [value for scores in methods.values() for of_task in scores for value in of_task]
    if not every:
        return pd.DataFrame(columns=["method", "score", "share", "low", "high"])
    taus = np.linspace(min(every), max(every), STEPS)
    frames = []
    for method, scores in methods.items():
        # [runs, scores] for each task
        above = [np.asarray(s)[:, None] > taus for s in scores]
        share = np.mean([a.mean(axis=0) for a in above], axis=0)
        # runs are drawn within each task, as the tasks of a suite are fixed
        bands = np.mean([draw_counts(rng, DRAWS, len(a)) @ a / len(a) for a in above], axis=0)
        low, high = np.quantile(bands, [0.025, 0.975], axis=0)
        frames.append(pd.DataFrame({"method": method, "score": taus, "share": share, "low": low, "high": high}))
    return pd.concat(frames, ignore_index=True)
