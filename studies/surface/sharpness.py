"""Sharpness of the loss beside the best rates: does a method with a flatter loss have a larger best rate?

Sharpness is the largest eigenvalue of the Hessian in the trainable parameters, head excluded (--sharpness). It spans
orders of magnitude, so means are geometric and ratios are those of runs with the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.statistics.student import estimate_mean
from studies.surface.rates import BestRate, draw_seeds
from studies.surface.runs import GROUP, Place

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Rates = Mapping[tuple[Place, str], BestRate]
Rows = list[dict[str, Any]]
START, END = "sharpness_before", "sharpness_after"
SHARPNESS_NOTES = (
    "sharpness: largest eigenvalue of the Hessian of the training loss in the trainable parameters, head excluded, in"
    " evaluation mode; geometric means over seeds, at the start and after training at the best rate. ratio: to the"
    " reference, paired by seed, with a 95 % t interval of its logarithm.",
    "rate * sharpness: plain SGD is stable below 2. For AdamW, which divides each gradient by its running size, the"
    " product has no such limit: compare it between methods only.",
)
CORRELATION_NOTES = (
    "Spearman's rank correlation of sharpness and best rate over pairs of method and task; below 0, sharper losses have"
    " smaller best rates. within tasks: the mean of the correlations over methods on each task. interval: 95 % of 2,000"
    " bootstrap draws of the search seeds, for these methods and tasks: it does not extend to others.",
)


def list_sharpness(runs: pd.DataFrame, best: Rates, reference: str) -> Rows:
    """Sharpness of each method and task at the start and at the best rate; no rows where no run has it."""
    if not has_sharpness(runs):
        return []
    rows = []
    for (place, method), rate in best.items():
        if (start := _collect_logs(runs, place, method, START)) is None:
            continue
        end = _collect_logs(runs, place, method, END, rate.rate)
        compared = best.get((place, reference)) if method != reference else None
        ratios = ["", ""]
        if compared is not None:
            others = [
                _collect_logs(runs, place, reference, START),
                _collect_logs(runs, place, reference, END, compared.rate),
            ]
            ratios = [_format_ratio(own, other) for own, other in zip((start, end), others, strict=True)]
        rows.append(
            {
                "task": place[1],
                "batch": place[2],
                "budget": place[3],
                "method": method,
                "at the start": _format_mean(start),
                "ratio at the start": ratios[0],
                "at the best rate": _format_mean(end),
                "ratio at the best rate": ratios[1],
                "rate * sharpness": "" if end is None else f"{rate.rate * math.exp(end.mean()):.2g}",
                "with head, at the start": _format_mean(_collect_logs(runs, place, method, f"{START}_with_head")),
                "with head, at the best rate": _format_mean(
                    _collect_logs(runs, place, method, f"{END}_with_head", rate.rate)
                ),
                "seeds": len(start),
            }
        )
    return rows


def list_correlations(runs: pd.DataFrame, best: Rates) -> Rows:
    """Rank correlations of sharpness and best rate; for each batch size and budget with three pairs or more."""
    if not has_sharpness(runs):
        return []
    rows = []
    for batch, budget in dict.fromkeys((place[2], place[3]) for place, _ in best):
        own = {key: rate for key, rate in best.items() if key[0][2:] == (batch, budget)}
        for column, when in ((START, "at the start"), (END, "at the best rate")):
            points = _draw_points(runs, own, column)
            if len(points) < 3:
                continue
            tasks = [key[0][:2] for key in points]
            rates, sharpness = (_stack([point[i] for point in points.values()]) for i in (0, 1))
            groups = [[i for i, task in enumerate(tasks) if task == name] for name in dict.fromkeys(tasks)]
            rows.append(
                {
                    "batch": batch,
                    "budget": budget,
                    "sharpness": when,
                    "pairs": len(points),
                    "rank correlation": _format_correlation(compute_correlations(rates, sharpness)),
                    "within tasks": _format_correlation(
                        _average_correlations(rates, sharpness, [g for g in groups if len(g) > 2])
                    ),
                }
            )
    return rows


def has_sharpness(runs: pd.DataFrame) -> bool:
    return START in runs and bool(runs[START].notna().any())


def _collect_logs(
    runs: pd.DataFrame, place: Place, method: str, column: str, rate: float | None = None
) -> pd.Series | None:
    """Logarithm of the sharpness by seed; `rate` selects runs of one rate. None without any."""
    import numpy as np

    own = runs[(runs[list(GROUP)] == list(place)).all(axis=1) & (runs["method"] == method)]
    if rate is not None:
        own = own[own["lr"] == rate]
    values = own[own[column] > 0].groupby("seed")[column].first()
    return None if values.empty else np.log(values)


def _format_mean(logs: pd.Series | None) -> str:
    return "" if logs is None else f"{math.exp(logs.mean()):.3g}"


def _format_ratio(own: pd.Series | None, other: pd.Series | None) -> str:
    """Geometric mean of the ratios of runs with the same seed, with its interval."""
    differences = [] if own is None or other is None else (own - other).dropna().tolist()
    if not differences:
        return ""
    estimate = estimate_mean(differences)
    ratio = f"{math.exp(sum(differences) / len(differences)):.2f}"
    return ratio if estimate is None else f"{ratio} ({math.exp(estimate.low):.2f} to {math.exp(estimate.high):.2f})"


def _draw_points(runs: pd.DataFrame, best: Rates, column: str) -> dict[tuple[Place, str], tuple[np.ndarray, ...]]:
    """(place, method) -> its rate and log sharpness [1 + DRAWS]: of all seeds of the search, then of each draw."""
    import numpy as np

    search = runs[runs["stage"] == "search"]
    points: dict[tuple[Place, str], tuple[np.ndarray, ...]] = {}
    for (place, method), rate in best.items():
        if rate.is_flat:
            continue  # without a best rate
        here = search[(search[list(GROUP)] == list(place)).all(axis=1)]
        seeds = sorted(set(here["seed"]))
        own = here[here["method"] == method]
        positive = own.assign(log=np.log(own[column].where(own[column] > 0)))
        logs = positive.pivot_table(index="seed", columns="lr", values="log", dropna=False)
        values = logs.reindex(index=seeds, columns=list(rate.rates)).to_numpy()
        if np.isnan(values).any():
            continue  # a rate without a sharpness of every seed would favour the seeds that did not diverge
        means = np.vstack([values.mean(axis=0), values[draw_seeds(len(seeds))].mean(axis=1)])
        rates = np.concatenate([[rate.rate], rate.drawn])
        columns = np.searchsorted(rate.rates, rates)
        points[place, method] = rates, means[np.arange(len(means)), columns]
    return points


def compute_correlations(rates: np.ndarray, sharpness: np.ndarray) -> np.ndarray:
    """Spearman's correlation in each row of two tables [rows, points]; nan where one of both is constant."""
    import numpy as np
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=1) for values in (rates, sharpness)]
    first, second = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations: np.ndarray = (first * second).sum(1) / np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return correlations


def _average_correlations(rates: np.ndarray, sharpness: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """The mean over groups of points of the correlation within each; nan without a group."""
    import numpy as np

    if not groups:
        return np.full(len(rates), np.nan)
    every = [compute_correlations(rates[:, group], sharpness[:, group]) for group in groups]
    means: np.ndarray = np.mean(every, axis=0)
    return means


def _format_correlation(values: np.ndarray) -> str:
    """The first value, with the interval of the others."""
    import numpy as np

    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(drawn):
        return ""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{values[0]:+.2f} ({low:+.2f} to {high:+.2f})"


def _stack(parts: Sequence[np.ndarray]) -> np.ndarray:
    """[rows, points] from the points' columns [rows]."""
    import numpy as np

    return np.stack(parts, axis=1)
