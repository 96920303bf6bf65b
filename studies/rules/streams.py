"""Does the score depend on which half is drawn? Variance components over a grid of init and mask seeds.

        mask 0   mask 1   ...
init 0  score    score              spread of the column means -> masks
init 1  score    score              spread of the row means    -> inits; what is left -> interaction and noise
"""

from __future__ import annotations

import itertools
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
    """Scores of one task by (init, mask), a full rectangle, and scores of runs in which all streams vary."""

    scores: Mapping[tuple[int, int], float]
    every: Sequence[float]


def judge(study: Study, seen: StudyRuns) -> Answer:
    """Confirmed: the spread over masks is significantly below the margin. Contradicted: significantly above it."""
    margin = seen.margin or 0.0
    settings = group_settings(seen.records)
    seed_grids = _build_seed_grids(settings)
    parts_of = {task: _estimate_components(c) for task, c in seed_grids.items()}
    corrected = apply_holm([compute_beyond_p(c, margin) for c in seed_grids.values()])
    parts, rows = {}, []
    for (task, c), p in zip(seed_grids.items(), corrected, strict=True):
        upper = compute_upper_sd([_mean_of_mask(c, mask) for mask in _list_levels(c, 1)])
        mask = _find_component(parts_of[task], "mask")
        sd = mask.variance**0.5 if mask else 0.0
        kind = judge_kind(upper, p, margin)
        # Collapsed runs all score the same, which would look like no effect of the mask.
        on = settings[task][0].cell.task
        refused = find_refusal(seen, tasks=[on]) if kind == "confirmed" else ""
        kind = "undecided" if refused else kind
        bound = "no bound" if upper is None else f"95 % bound {upper:.1f}"
        text = f"On {task} scores vary over masks with a standard deviation of {sd:.1f} points ({bound})."
        text += f" Nothing is confirmed: {refused}." if refused else ""
        parts[task] = Part(kind, text, _describe_power(c, margin))
        rows += [_build_row(task, x.stream, x.variance**0.5, x.levels, x.share, x.p, kind) for x in parts_of[task]]
        if len(c.every) > 1:
            rows.append(_build_row(task, "all streams", statistics.stdev(c.every), len(c.every), None, None, kind))
    # A task with an incomplete grid counts as undecided: leaving it out could turn the verdict.
    if parts:
        hole = "its grid of init and mask seeds is incomplete"
        parts |= {t: Part("undecided", f"No verdict on {t}: {hole}.") for t in settings if t not in parts}
    kind = merge_verdicts(p.kind for p in parts.values())
    lacks = "" if parts else "a complete grid of init and mask seeds (--seeds init=0..4,mask=0..4) with every score"
    sentence = " ".join(p.summary for p in parts.values()) or f"No verdict yet; missing: {lacks}."
    return Answer(kind, sentence, parts, rows, [f"margin {margin:g} points of standard deviation over masks"], lacks)


def group_settings(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records that differ in nothing but their seeds, by the name of what they have in common.

    The name is the task, and the method and learning rate with it where a task has several of either.
    """
    groups: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        setting = record.cell.model_copy(update={"seeds": {}}).key
        groups.setdefault(record.cell.task, {}).setdefault(setting, []).append(record)
    named: dict[str, list[Record]] = {}
    for task, by_setting in groups.items():
        for number, own in enumerate(by_setting.values(), 1):
            cell = own[0].cell
            name = task if len(by_setting) == 1 else f"{task} with {cell.label} at learning rate {cell.protocol.lr:.2g}"
            # settings that differ elsewhere, such as in the batch size, still need names of their own
            named[name if name not in named else f"{name}, setting {number}"] = own
    return named


def _build_seed_grids(settings: Mapping[str, Sequence[Record]]) -> dict[str, SeedGrid]:
    """The complete seed grids by setting."""
    grids = {name: build_seed_grid(records) for name, records in settings.items()}
    return {name: grid for name, grid in grids.items() if grid is not None}


def _describe_power(found: SeedGrid, margin: float) -> str:
    """The mask seeds needed for a bound below the margin, if the spread stays as it is."""
    spread = [_mean_of_mask(found, mask) for mask in _list_levels(found, 1)]
    if has_no_spread(spread):
        return ""
    sd, seeds = statistics.stdev(spread), count_masks_needed(statistics.stdev(spread), margin)
    takes = f"more than {MAX_SEEDS:,} mask seeds" if seeds is None else f"{seeds} mask seeds"
    return f"If the spread of these means stays at {sd:.2f}, a bound below {margin:g} points takes {takes}."


def count_masks_needed(sd: float, margin: float) -> int | None:
    """The fewest mask seeds that bound a spread `sd` below the margin; None where 1,000 are not enough."""
    import numpy as np
    from scipy.special import chdtri

    counts = np.arange(2, MAX_SEEDS + 1)
    enough = np.flatnonzero(sd * np.sqrt((counts - 1) / chdtri(counts - 1, 0.95)) < margin)
    return int(counts[enough[0]]) if len(enough) else None


def build_seed_grid(records: Sequence[Record]) -> SeedGrid | None:
    """The grid of one setting's records; None where a score is missing, or where one of the streams does not vary."""
    scores, every = {}, []
    for r in records:
        value = get_score(r, next(iter(r.averages), FIRST_METRIC))
        # Runs with one seed for all streams show the whole spread, for the row "all streams".
        if len(set(r.cell.seeds.values())) == 1 and value is not None:
            every.append(value)
        # The rectangle holds all other streams at seed 0, so that only init and mask can explain a difference.
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

    Computed from the means per mask, whose spread includes part of the other noise, so the bound is never too low for
    normal scores. None for fewer than two means or equal ones (such as scores at the majority baseline).
    """
    from scipy.special import chdtri

    # Equal means give a bound of 0, which rounding or a collapse can cause.
    if len(means) < 2 or has_no_spread(means):
        return None
    df = len(means) - 1
    return statistics.stdev(means) * math.sqrt(df / float(chdtri(df, 0.95)))


def compute_beyond_p(found: SeedGrid, margin: float) -> float | None:
    """One-sided p of a standard deviation over masks of the margin or less; None where nothing varies.

    The mean square over masks is chi-squared about residual + inits x sd². At sd = margin their ratio is tested as F;
    only the residual is estimated, so the denominator has Satterthwaite's degrees of freedom.
    """
    import numpy as np
    from scipy.special import fdtrc

    inits, masks = _list_levels(found, 0), _list_levels(found, 1)
    cells = itertools.product(inits, masks)
    table = np.array([found.scores[cell] for cell in cells]).reshape(len(inits), len(masks))
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
    """`beyond` is the p of a spread within the margin, corrected over tasks; a spread above 0 alone decides nothing."""
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
