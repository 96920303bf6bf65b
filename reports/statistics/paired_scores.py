"""Two models on the same questions: the difference of their mean scores, and the test of their pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reports.statistics.clusters import estimate_clustered_mean
from reports.statistics.seed_pairs import compute_mcnemar_p

SAME = 1e-12


@dataclass(frozen=True)
class PairedScores:
    """The first less the second over `questions` common questions, in points.

    `improved` and `worsened` count questions with a higher and a lower score of the first. low and high: 95 %
    t-interval for new questions (for new clusters, where there are several), None without any spread. `p`: McNemar's
    exact test (the sign test for scores that are not right or wrong); of clusters that of their t-interval, and None
    where they have no spread.
    """

    questions: int
    improved: int
    worsened: int
    points: float
    low: float | None
    high: float | None
    p: float | None


def compare_paired(first: Any, second: Any, codes: Any = None) -> PairedScores:
    """Scores [n] of the same questions, from 0 to 1; `codes` [n] are their clusters, None for none."""
    import numpy as np

    gaps = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    signs = np.where(np.abs(gaps) > SAME, np.sign(gaps), 0).astype(int)
    improved, worsened = int((signs > 0).sum()), int((signs < 0).sum())
    is_clustered = codes is not None and len(set(np.asarray(codes).tolist())) > 1
    units = np.asarray(codes) if is_clustered else np.arange(len(gaps))
    estimate = estimate_clustered_mean(100 * gaps, units) if len(gaps) > 1 else None
    # McNemar's test for clusters is an approximation for many of them, and a group may have two tasks
    p = estimate.p if estimate else (1.0 if not (improved or worsened) else None)
    return PairedScores(
        len(gaps),
        improved,
        worsened,
        100 * float(gaps.mean()),
        estimate.low if estimate else None,
        estimate.high if estimate else None,
        p if is_clustered else compute_mcnemar_p(improved, worsened),
    )
