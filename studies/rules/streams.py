"""Does the score depend on which half is drawn? Variance components of a grid of init seeds x mask seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.core.record import Record
from reports.frames import FIRST_METRIC, get_score
from reports.statistics.holm import apply_holm
from reports.statistics.power import ALPHA, MAX_SEEDS
from reports.statistics.student import has_no_spread
from reports.statistics.variance import Component, estimate_components
from studies.answer import Answer, Part, StudyRuns, merge_verdicts
from studies.rules.collapsing import find_refusal
from studies.study import Kind, Study

VARIED_STREAMS = ("init", "mask")


@dataclass(frozen=True)
class SeedGrid:
    """Scores of one task by (init, mask), a full rectangle, and the scores of runs that vary all streams."""

    scores: Mapping[tuple[int, int], float]
    every: Sequence[float]


def judge(study: Study, seen: StudyRuns) -> Answer:
    """Confirmed: the spread over masks is surely below the margin. Contradicted: it is surely above the margin."""
    margin = seen.margin or 0.0
    tasks = list(dict.fromkeys(r.cell.task for r in seen.records))
    seed_grids = {task: c for task in tasks if (c := build_seed_grid([r for r in seen.records if r.cell.task == task]))}
    parts_of = {task: _estimate_components(c) for task, c in seed_grids.items()}
    corrected = apply_holm([compute_beyond_p(c, margin) for c in seed_grids.values()])
    parts, rows = {}, []
    for (task, c), p in zip(seed_grids.items(), corrected, strict=True):
        upper = compute_upper_sd([_mean_of_mask(c, mask) for mask in _list_levels(c, 1)])
        mask = _find_component(parts_of[task], "mask")
        sd = mask.variance**0.5 if mask else 0.0
        kind = judge_kind(upper, p, margin)
        refused = find_refusal(seen, tasks=[task]) if kind == "confirmed" else ""
        kind = "undecided" if refused else kind
        bound = "no bound" if upper is None else f"surely below {upper:.1f}"
        text = f"On {task} the mask alone moves the score by {sd:.1f} points (sd, {bound})."
        text += f" Nothing is confirmed: {refused}." if refused else ""
        parts[task] = Part(kind, text, _describe_power(c, margin))
        rows += [_build_row(task, x.stream, x.variance**0.5, x.levels, x.share, x.p, kind) for x in parts_of[task]]
        if len(c.every) > 1:
            rows.append(_build_row(task, "all streams", statistics.stdev(c.every), len(c.every), None, None, kind))
    if parts:  # a task with a hole is not left out of the verdict
        hole = "its grid of init and mask seeds is not full"
        parts |= {t: Part("undecided", f"Nothing is said of {t}: {hole}.") for t in tasks if t not in parts}
    kind = merge_verdicts(p.kind for p in parts.values())
    lacks = "" if parts else "a full grid of init and mask seeds (--seeds init=0..4,mask=0..4) with every score"
    sentence = " ".join(p.told for p in parts.values()) or f"Nothing could be judged: it lacks {lacks}."
    return Answer(kind, sentence, parts, rows, [f"margin {margin:g} points of standard deviation over masks"], lacks)


def _describe_power(found: SeedGrid, margin: float) -> str:
    """The bound that so many mask seeds can give of the spread of their means, and the seeds that the margin takes."""
    spread = [_mean_of_mask(found, mask) for mask in _list_levels(found, 1)]
    if has_no_spread(spread):
        return ""
    sd, seeds = statistics.stdev(spread), count_masks_needed(statistics.stdev(spread), margin)
    takes = f"more than {MAX_SEEDS:,} mask seeds" if seeds is None else f"{seeds} mask seeds"
    return f"Were the spread of these means ({sd:.2f}) to stay, a bound below {margin:g} points takes {takes}."


def count_masks_needed(sd: float, margin: float) -> int | None:
    """The fewest mask seeds whose spread `sd` is surely below the margin; None where 1,000 are not enough."""
    import numpy as np
    from scipy.special import chdtri

    counts = np.arange(2, MAX_SEEDS + 1)
    enough = np.flatnonzero(sd * np.sqrt((counts - 1) / chdtri(counts - 1, 0.95)) < margin)
    return int(counts[enough[0]]) if len(enough) else None


def build_seed_grid(records: Sequence[Record]) -> SeedGrid | None:
    """None where the rectangle of init and mask seeds has a hole, or is one row."""
    scores, every = {}, []
    for r in records:
        value = get_score(r, next(iter(r.averages), FIRST_METRIC))
        if len(set(r.cell.seeds.values())) == 1 and value is not None:
            every.append(value)
        if any(seed for stream, seed in r.cell.seeds.items() if stream not in VARIED_STREAMS):
            continue
        if value is None:
            return None
        scores[r.cell.seeds["init"], r.cell.seeds["mask"]] = value
    seed_grid = SeedGrid(scores, every)
    sides = len(_list_levels(seed_grid, 0)), len(_list_levels(seed_grid, 1))
    return seed_grid if min(sides) > 1 and len(scores) == sides[0] * sides[1] else None


def compute_upper_sd(means: Sequence[float]) -> float | None:
    """One-sided 95 % bound of the standard deviation over masks.

    Of the means per mask, whose spread holds a part of the other noise too: the bound is never too low for normal
    scores. None of fewer than two, or where they are all the same (scores that never left the constant, say).
    """
    from scipy.special import chdtri

    if len(means) < 2 or has_no_spread(means):
        return None
    df = len(means) - 1
    return statistics.stdev(means) * math.sqrt(df / float(chdtri(df, 0.95)))


def compute_beyond_p(found: SeedGrid, margin: float) -> float | None:
    """One-sided p of 'the standard deviation over masks is the margin or less'; None where nothing varies.

    The mean square over masks is chi-squared about rest + inits x sd². At the margin its ratio to that is read as F,
    the known part of the denominator having no error (Satterthwaite's degrees of freedom).
    """
    import numpy as np
    from scipy.special import fdtrc

    inits, masks = _list_levels(found, 0), _list_levels(found, 1)
    table = np.array([[found.scores[i, m] for m in masks] for i in inits])
    if has_no_spread(table.ravel().tolist()):
        return None
    of_masks = len(inits) * float(table.mean(axis=0).var(ddof=1))
    interactions = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    free = (len(inits) - 1) * (len(masks) - 1)
    residual = float(np.sum(interactions**2)) / free
    at_margin = residual + len(inits) * margin**2
    df = free * (at_margin / residual) ** 2 if residual > 1e-12 * at_margin else 1e9
    return float(fdtrc(len(masks) - 1, min(df, 1e9), of_masks / at_margin))


def judge_kind(upper: float | None, beyond: float | None, margin: float) -> Kind:
    """`beyond`: p of a spread within the margin, corrected over tasks; a spread that is merely real decides nothing."""
    if upper is not None and upper < margin:
        return "confirmed"
    return "contradicted" if beyond is not None and beyond < ALPHA else "undecided"


def _list_levels(found: SeedGrid, side: int) -> list[int]:
    return sorted({key[side] for key in found.scores})


def _mean_of_mask(found: SeedGrid, mask: int) -> float:
    return statistics.fmean(value for key, value in found.scores.items() if key[1] == mask)


def _estimate_components(found: SeedGrid) -> tuple[Component, ...]:
    seeds = [dict(zip(VARIED_STREAMS, key, strict=True)) for key in found.scores]
    return estimate_components(list(found.scores.values()), seeds)


def _find_component(parts: Sequence[Component], stream: str) -> Component | None:
    return next((c for c in parts if c.stream == stream), None)


def _build_row(
    task: str, stream: str, sd: float, levels: int, share: float | None, p: float | None, kind: Kind
) -> dict[str, str]:
    return {
        "task": task,
        "varied": stream,
        "levels": str(levels),
        "sd": f"{sd:.2f}",
        "share of variance": "" if share is None else f"{100 * share:.0f} %",
        "p": "" if p is None else f"{p:.3f}",
        "verdict of the task": kind,
    }
