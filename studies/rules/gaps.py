"""Does freezing regularize? The gap between unseen and training loss, compared with LoRA over paired seeds.

gap [nats] = cross-entropy on the eval rows - mean training loss at the end of training
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.record import Record
from harness.core.text import count_noun
from reports.frames import Seeds, build_grids, get_score, get_seeds
from reports.statistics.equivalence import NON_INFERIORITY_ALPHA
from reports.statistics.holm import apply_holm
from reports.statistics.shared_seeds import estimate_over_seeds
from reports.statistics.student import Student
from studies.answer import Answer, Part, StudyRuns, merge_verdicts
from studies.rules.collapsing import find_refusal
from studies.rules.contrast import count_failures
from studies.rules.margins import describe_estimate_power, format_interval, judge_estimates
from studies.study import Kind, Study

LAST = 4
"""The training loss is the mean over the last 1/LAST of the loss curve, because single batches are noisy."""


@dataclass(frozen=True)
class Fit:
    """Losses of one cell in nats (mean per example) and its score in points."""

    train: float
    dev: float
    score: float

    @property
    def gap(self) -> float:
        return self.dev - self.train


@dataclass(frozen=True)
class Differences:
    """Differences of a method to the reference over paired seeds: gap and unseen loss in nats, score in points."""

    gap: Student | None
    dev: Student | None
    score: Student | None


def judge(study: Study, seen: StudyRuns) -> Answer:
    """Options: `against` (the reference without regularization), `deciding` (methods whose verdict is the study's)."""
    first, deciding = study.options["against"], study.options["deciding"]
    fits = collect_fits(seen)
    other_methods = [m for m in fits if m != first and _match_fits(fits[m], fits.get(first, {}))]
    broken = {m: count_failures(seen.records, (m, first)) for m in other_methods}
    differences = [
        Differences(None, None, None) if broken[m] else _estimate_differences(fits[m], fits[first])
        for m in other_methods
    ]
    # Dropout is on while the training loss is recorded and raises it, so the gap looks smaller than it is.
    noisy = {r.cell.label for r in seen.records if r.cell.options.get("dropout")}
    kinds = judge_regularisation(
        [d.gap for d in differences],
        [d.dev for d in differences],
        [d.score for d in differences],
        seen.margin or 0.0,
        [m in noisy for m in other_methods],
        [bool(find_refusal(seen, (m, first))) for m in other_methods],
    )
    parts = {
        m: _build_part(m, first, k, d, broken[m], seen.margin or 0.0, len(other_methods))
        for m, k, d in zip(other_methods, kinds, differences, strict=True)
    }
    decisive = [p for m, p in parts.items() if m in deciding]
    lacks = "" if decisive else f"paired cells of {first} and {', '.join(deciding)} with stored loss and predictions"
    rows = [_build_row(m, list(fits[m].values()), first, parts.get(m)) for m in fits]
    sentence = " ".join(p.summary for p in decisive) or f"No verdict yet; missing: {lacks}."
    return Answer(merge_verdicts(p.kind for p in decisive), sentence, parts, rows, [*NOTES], lacks)


def _estimate_differences(method: dict[Seeds, Fit], first: dict[Seeds, Fit]) -> Differences:
    both = _match_fits(method, first)
    return Differences(
        gap=estimate_over_seeds({seeds: a.gap - b.gap for seeds, (a, b) in both.items()}),
        dev=estimate_over_seeds({seeds: a.dev - b.dev for seeds, (a, b) in both.items()}),
        score=estimate_over_seeds({seeds: a.score - b.score for seeds, (a, b) in both.items()}),
    )


def _build_part(
    method: str, first: str, kind: Kind, found: Differences, broken: int, margin: float, family: int
) -> Part:
    if broken:
        return Part(kind, f"{method} against {first}: {count_noun(broken, 'cell')} failed, so nothing is decided.")
    numbers = (
        f"gap {format_interval(found.gap)} and unseen loss {format_interval(found.dev)} nats, score "
        f"{format_interval(found.score)}"
    )
    power_notes = (
        describe_estimate_power(found.gap, 0.0, "nats of the gap", family),
        describe_estimate_power(found.score, margin, "points of the score", family),
    )
    return Part(kind, f"{method} against {first}: {numbers}.", " ".join(filter(None, power_notes)))


NOTES = (
    "gap: loss on unseen rows minus the mean training loss over the last quarter of the steps. A positive difference"
    " is a larger gap. The training loss is recorded with dropout on, so the gap of a method with dropout is too small,"
    " and only a lower unseen loss confirms it.",
    "confirmed: a significantly smaller gap, and a significantly lower unseen loss or a score that is not worse by the"
    " margin. contradicted: a significantly larger gap, or a significantly higher unseen loss.",
)


def judge_regularisation(
    gaps: Sequence[Student | None],
    devs: Sequence[Student | None],
    scores: Sequence[Student | None],
    margin: float,
    noisy: Sequence[bool],
    refused: Sequence[bool] = (),
) -> list[Kind]:
    """One verdict per method; each kind of test is a Holm family over the methods.

    `noisy`: the method's own dropout raises the training loss, so only a lower unseen loss counts. `refused`: runs
    collapsed, so a score that is not worse is no evidence.
    """
    smaller = _find_significant([None if e is None else e.p_below(0.0) for e in gaps])
    larger = _find_significant([None if e is None else e.p_above(0.0) for e in gaps])
    lower = _find_significant([None if e is None else e.p_below(0.0) for e in devs])
    higher = _find_significant([None if e is None else e.p_above(0.0) for e in devs])
    score_kept = [kind == "confirmed" for kind in judge_estimates(scores, margin, "not worse", refused=refused)]
    return [
        "contradicted" if up or worse else "confirmed" if down and (better or (same and not loud)) else "undecided"
        for down, up, better, worse, same, loud in zip(smaller, larger, lower, higher, score_kept, noisy, strict=True)
    ]


def _find_significant(values: Sequence[float | None]) -> list[bool]:
    return [p is not None and p < NON_INFERIORITY_ALPHA for p in apply_holm(values)]


def collect_fits(seen: StudyRuns) -> dict[str, dict[Seeds, Fit]]:
    """Method -> seeds -> mean fit over the tasks that have one (a regression has none), for seeds with all tasks."""
    by_method: dict[str, dict[Seeds, Fit]] = {}
    for grid in build_grids(seen.records):
        tasks = [task for task in grid.tasks if _measure_fits(grid.select_task(task), seen.cells)]
        for method in grid.methods:
            by_task = [_measure_fits(grid.of(task, method), seen.cells) for task in tasks]
            by_method[method] = _average_tasks(by_task)
    return by_method


def _measure_fits(records: Iterable[Record], cells: Path | None) -> dict[Seeds, Fit]:
    """The fits of the records that have one, by seeds."""
    fits = {get_seeds(record): measure_fit(record, cells) for record in records}
    return {seeds: fit for seeds, fit in fits.items() if fit is not None}


def _average_tasks(by_task: Sequence[Mapping[Seeds, Fit]]) -> dict[Seeds, Fit]:
    """The mean fit over tasks, for seeds that every task has."""
    averages: dict[Seeds, Fit] = {}
    for seeds in by_task[0] if by_task else ():
        fits = [task_fits[seeds] for task_fits in by_task if seeds in task_fits]
        if len(fits) == len(by_task):
            averages[seeds] = _mean_of_fits(fits)
    return averages


def measure_fit(record: Record, cells: Path | None) -> Fit | None:
    """The fit of a cell; None without a score, a loss curve or stored class logits."""
    import pandas as pd

    value = get_score(record, next(iter(record.averages), ""))
    if value is None or cells is None or record.predictions is None or not record.loss_curve:
        return None
    frame = pd.read_parquet(cells / record.predictions.path)
    if "logits" not in frame or len(frame["logits"].iloc[0]) < 2:
        return None
    losses = [loss for _, loss in record.loss_curve]
    # Logits of one column are values of a regression, which have no cross-entropy.
    return Fit(statistics.fmean(losses[-max(1, math.ceil(len(losses) / LAST)) :]), compute_unseen_loss(frame), value)


def compute_unseen_loss(frame: Any) -> float:
    """Mean cross-entropy in nats from the stored logits."""
    import numpy as np
    from scipy.special import logsumexp

    logits = np.stack(frame["logits"].to_numpy()).astype(float)
    target_logits = logits[np.arange(len(frame)), frame["target"].to_numpy().astype(int)]
    return float(np.mean(logsumexp(logits, axis=1) - target_logits))


def _mean_of_fits(fits: Sequence[Fit]) -> Fit:
    return Fit(
        train=statistics.fmean(fit.train for fit in fits),
        dev=statistics.fmean(fit.dev for fit in fits),
        score=statistics.fmean(fit.score for fit in fits),
    )


def _match_fits(method: dict[Seeds, Fit], first: dict[Seeds, Fit]) -> dict[Seeds, tuple[Fit, Fit]]:
    return {seeds: (fit, first[seeds]) for seeds, fit in method.items() if seeds in first}


def _build_row(method: str, fits: Sequence[Fit], first: str, part: Part | None) -> dict[str, str]:
    whole = _mean_of_fits(fits) if fits else None
    return {
        "method": method,
        "train loss": "" if whole is None else f"{whole.train:.3f}",
        "unseen loss": "" if whole is None else f"{whole.dev:.3f}",
        "gap": "" if whole is None else f"{whole.gap:+.3f}",
        "score": "" if whole is None else f"{whole.score:.1f}",
        "seeds": str(len(fits)),
        "verdict": part.kind if part else "reference" if method == first else "",
    }
