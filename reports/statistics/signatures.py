"""Signs that LoRA-SP (arXiv 2403.08822) fails: lower scores, memory that stays, unstable runs, masks that matter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.core.profile import Profile
from harness.core.text import format_bytes
from reports.frames import Grid
from reports.solo import find_profile
from reports.statistics.collapse import LEAST_GAIN, NOT_FINITE, TaskCollapses, find_collapses, format_runs, list_first
from reports.statistics.comparisons import Comparison
from reports.statistics.holm import apply_holm
from reports.statistics.power import ALPHA
from reports.statistics.variance import REST, Component
from reports.statistics.verdicts import WITHIN_MARGIN, Verdict

SUBJECT = "lorasp"
REFERENCES = ("lora", "full")
MIN_FALL = 0.01
"""Share of lora's peak that lorasp's must lie below it to count: resident memory varies by about as much."""
MAX_NAMED = 12
"""Comparisons or methods that a sentence names; of more it says how many there are."""
MIN_POINTS = 8
"""A loss curve of fewer points has no trend to speak of."""


@dataclass(frozen=True)
class FailureCheck:
    """One check. `seen`: True, False, or None where it can't be checked; `sentence` says what was found or why not."""

    name: str
    seen: bool | None
    sentence: str


def check_failure_modes(
    grid: Grid,
    judged: Sequence[tuple[Comparison, Verdict]],
    profiles: Sequence[Profile],
    parts: Mapping[tuple[str, str], Sequence[Component]],
    collapses: Mapping[str, TaskCollapses] | None = None,
) -> tuple[FailureCheck, ...]:
    """All checks of one suite; `parts` are the variance components of (task, method), `collapses` by task."""
    if collapses is None:
        collapses = find_collapses(grid, grid.averages[0])
    return (
        check_degradation(grid, judged),
        check_memory(grid, profiles),
        check_instability(grid, collapses),
        check_masks(grid, parts),
    )


def select_methods(grid: Grid, names: Sequence[str]) -> list[str]:
    return [m for m in grid.methods if grid.select_method(m) and grid.select_method(m)[0].cell.method in names]


def check_degradation(grid: Grid, judged: Sequence[tuple[Comparison, Verdict]]) -> FailureCheck:
    """lorasp below lora or full by a corrected test, whichever of the two stands first."""
    name = "scores below lora or full"
    subjects, references = select_methods(grid, [SUBJECT]), select_methods(grid, REFERENCES)
    judged = [(c, v) for c, v in judged if not c.whole or len(c.tasks) > 1]  # a mean over one task is that task
    candidates = [(c, v, "worse") for c, v in judged if c.method in subjects and c.first in references]
    candidates += [(c, v, "better") for c, v in judged if c.method in references and c.first in subjects]
    worse = [_format_below(c, sign) for c, v, sign in candidates if v.kind == sign]
    if worse:
        return FailureCheck(name, True, f"{list_first(worse, MAX_NAMED, '; ')}.")
    silent = sum(v.kind not in ("better", "worse", *WITHIN_MARGIN) for _, v, _ in candidates)
    if not candidates or silent == len(candidates):
        return FailureCheck(
            name, None, f"Not decided: no conclusive comparison of lorasp with lora or full ({len(candidates)} made)."
        )
    return FailureCheck(
        name, False, f"Not seen in {len(candidates)} comparisons, of which {silent} are not conclusive."
    )


def _format_below(c: Comparison, sign: str) -> str:
    if sign == "worse":
        return f"{c.method} below {c.first} on {c.place} ({c.difference:+.1f})"
    return f"{c.first} below {c.method} on {c.place} ({-(c.difference or 0.0):+.1f})"


def check_memory(grid: Grid, profiles: Sequence[Profile]) -> FailureCheck:
    """Peak memory of lorasp, measured alone, not `MIN_FALL` below lora's of the same model, precision, batch."""
    name = "memory does not fall"
    peak_profiles = {
        m: p
        for m in grid.methods
        if (p := find_profile(grid.select_method(m)[0], profiles, finished=True)) and p.peak_bytes
    }
    pairs = [
        (s, r, peak_profiles[s].peak_bytes or 0, peak_profiles[r].peak_bytes or 0)
        for s in select_methods(grid, [SUBJECT])
        for r in select_methods(grid, ["lora"])
        if s in peak_profiles
        and r in peak_profiles
        and _get_setting(peak_profiles[s]) == _get_setting(peak_profiles[r])
    ]
    if not pairs:
        return FailureCheck(name, None, "Not checked: no profiles of lorasp and lora that differ in nothing else.")
    is_seen = any(other - subject_peak < MIN_FALL * other for _, _, subject_peak, other in pairs)
    summary = list_first([_format_fall(*pair) for pair in pairs], MAX_NAMED, "; ")
    start = "" if is_seen else "Not seen: "
    return FailureCheck(
        name, is_seen, f"{start}{summary}; one measurement each, and less than {100 * MIN_FALL:.0f} % is no fall."
    )


def _format_fall(method: str, other: str, own: int, base: int) -> str:
    fall = 100 * (base - own) / base
    return (
        f"{method} peaks at {format_bytes(own)}, {other} at {format_bytes(base)} ({abs(fall):.1f} % "
        f"{'less' if fall >= 0 else 'more'})"
    )


def _get_setting(p: Profile) -> tuple[object, ...]:
    return p.model_revision, p.dtype, p.quantize, p.recompute, p.device, p.batch_size, p.length


def check_instability(grid: Grid, collapses: Mapping[str, TaskCollapses]) -> FailureCheck:
    """Runs of any method that diverged or collapsed, losses that rise again or do not fall, tasks nobody learned."""
    name = "training is unstable or stuck"
    reasons = {key: why for one in collapses.values() for key, why in one.reasons.items()}
    broken = [r for r in grid.records if reasons.get(r.key) == NOT_FINITE]
    curves: dict[str, list[float]] = {}
    for record in grid.records:
        # a short curve has too few points to tell a trend from noise
        if len(record.loss_curve) >= MIN_POINTS:
            curves[record.key] = [loss for _, loss in record.loss_curve]
    rising = [r for r in grid.records if r.key in curves and is_rising(curves[r.key])]
    # a curve that rises again is reported once, not as stuck too
    rose = {r.key for r in rising}
    stuck = [r for r in grid.records if r.key in curves and r.key not in rose and not is_falling(curves[r.key])]
    some, never, unlearned = _list_collapsed(collapses)
    parts = [f"diverged: {format_runs(broken)}"] if broken else []
    parts += [f"runs collapsed: {'; '.join(some)}"] if some else []
    parts += [f"never learned: {list_first(never, MAX_NAMED)}"] if never else []
    if unlearned:
        parts.append(f"no method gains {LEAST_GAIN:g} points over the majority baseline on {', '.join(unlearned)}")
    parts += [f"loss rises again: {format_runs(rising)}"] if rising else []
    parts += [f"loss ends no lower than it began: {format_runs(stuck)}"] if stuck else []
    if parts:
        return FailureCheck(name, True, f"{'; '.join(parts)} (of {len(grid.records)} cells).")
    text = f"Not seen: no run diverged or collapsed, and all of {len(curves)} loss curves fall and stay down."
    return FailureCheck(
        name, False if curves else None, text if curves else "No run collapsed; there are no loss curves."
    )


def _list_collapsed(collapses: Mapping[str, TaskCollapses]) -> tuple[list[str], list[str], list[str]]:
    """By task, the methods of which some runs collapsed; methods that never learned a task; tasks nobody learned."""
    some, never, unlearned = [], [], []
    for task, one in collapses.items():
        if not one.shares:
            continue
        if not one.is_learned:
            unlearned.append(task)
            continue
        counts = [f"{m} {share}" for m, share in one.shares.items() if share.collapsed and not share.is_never_learned]
        if counts:
            some.append(f"on {task} {list_first(counts, MAX_NAMED)}")
        never += [f"{m} on {task} ({share})" for m, share in one.shares.items() if share.is_never_learned]
    return some, never, unlearned


def is_rising(losses: Sequence[float]) -> bool:
    """Whether the last quarter has lost more than half of what was gained at best, beyond three times the noise."""
    means, noise = _compute_moving_means(losses)
    best = min(means)
    return bool(means[-1] - best > max(0.5 * (means[0] - best), 3 * noise))


def is_falling(losses: Sequence[float]) -> bool:
    """Whether the last quarter lies below the first."""
    window = _window(losses)
    return math.fsum(losses[-window:]) < math.fsum(losses[:window])


def _window(losses: Sequence[float]) -> int:
    return max(2, len(losses) // 4)


def _compute_moving_means(losses: Sequence[float]) -> tuple[list[float], float]:
    """Means over a quarter of the curve, and their noise."""
    window = _window(losses)
    means = [math.fsum(losses[i : i + window]) / window for i in range(len(losses) - window + 1)]
    squares = [(b - a) ** 2 for a, b in itertools.pairwise(losses)]
    # Steps from point to point hold twice the noise's variance and little of a trend.
    return means, (math.fsum(squares) / len(squares) / 2) ** 0.5 * (2 / window) ** 0.5


def check_masks(grid: Grid, parts: Mapping[tuple[str, str], Sequence[Component]]) -> FailureCheck:
    """Spread over mask seeds above the spread over all other seeds together, by tests corrected together."""
    name = "results depend on the mask"
    subjects = select_methods(grid, [SUBJECT])
    mask_components: dict[tuple[str, str], Component] = {}
    other_variances: dict[tuple[str, str], float] = {}
    for place, components in parts.items():
        by_stream = {component.stream: component for component in components}
        if place[1] in subjects and "mask" in by_stream:
            mask_components[place] = by_stream["mask"]
            other_variances[place] = sum(c.variance for c in components if c.stream not in ("mask", REST))
    if not mask_components:
        text = "Not checked: masks have no seeds of their own; run lorasp with --seeds init=0..4,mask=0..4."
        return FailureCheck(name, None, text)
    larger = [place for place, mask in mask_components.items() if mask.variance > other_variances[place]]
    corrected = dict(zip(mask_components, apply_holm([mask.p for mask in mask_components.values()]), strict=True))
    # no p: the streams explain the scores exactly, so no test is needed
    significant = [place for place in larger if (p := corrected[place]) is None or p < ALPHA]
    texts = {
        p: (
            f"{p[1]} on {p[0]}: {mask_components[p].variance ** 0.5:.1f} over masks, "
            f"{other_variances[p] ** 0.5:.1f} else"
        )
        for p in larger
    }
    if significant:
        return FailureCheck(name, True, f"Standard deviations: {'; '.join(texts[p] for p in significant)} points.")
    if larger:
        text = f"Not decided: larger over masks than over other seeds, not surely: {'; '.join(texts.values())} points."
        return FailureCheck(name, None, text)
    return FailureCheck(
        name,
        False,
        f"Not seen on {len(mask_components)} tasks and methods: estimates over masks are not above other seeds'.",
    )
