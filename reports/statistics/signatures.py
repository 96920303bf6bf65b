"""Signs that LoRA-SP (arXiv 2403.08822) fails: lower scores, memory that stays, unstable runs, masks that matter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.record import Profile
from reports.frames import Grid
from reports.solo import profile_of, size
from reports.statistics.collapse import LEAST_GAIN, NOT_FINITE, TaskCollapses, find_collapses, name_runs
from reports.statistics.comparisons import Comparison
from reports.statistics.holm import holm
from reports.statistics.power import ALPHA
from reports.statistics.variance import REST, Component
from reports.statistics.verdicts import Verdict

SUBJECT = "lorasp"
REFERENCES = ("lora", "full")
LEAST_FALL = 0.01
"""Share of lora's peak that lorasp's must lie below it to count: resident memory varies by about as much."""
FEWEST_POINTS = 8
"""A loss curve of fewer points has no trend to speak of."""


@dataclass(frozen=True)
class Signature:
    """One check. `seen`: True, False, or None where it can't be checked; `sentence` says what was found or why not."""

    name: str
    seen: bool | None
    sentence: str


def signatures(
    grid: Grid,
    judged: Sequence[tuple[Comparison, Verdict]],
    profiles: Sequence[Profile],
    parts: Mapping[tuple[str, str], Sequence[Component]],
    collapses: Mapping[str, TaskCollapses] | None = None,
) -> tuple[Signature, ...]:
    """All checks of one suite; `parts` are the variance components of (task, method), `collapses` by task."""
    if collapses is None:
        collapses = find_collapses(grid, grid.averages[0])
    return (degradation(grid, judged), memory(grid, profiles), instability(grid, collapses), masks(grid, parts))


def methods_of(grid: Grid, names: Sequence[str]) -> list[str]:
    return [m for m in grid.methods if grid.of_method(m) and grid.of_method(m)[0].cell.method in names]


def degradation(grid: Grid, judged: Sequence[tuple[Comparison, Verdict]]) -> Signature:
    """lorasp below lora or full by a corrected test, whichever of the two stands first."""
    name = "scores below lora or full"
    subjects, references = methods_of(grid, [SUBJECT]), methods_of(grid, REFERENCES)
    judged = [(c, v) for c, v in judged if not c.whole or len(c.tasks) > 1]  # a mean over one task is that task
    found = [(c, v, "worse") for c, v in judged if c.method in subjects and c.first in references]
    found += [(c, v, "better") for c, v in judged if c.method in references and c.first in subjects]
    worse = [_below(c, sign) for c, v, sign in found if v.kind == sign]
    if worse:
        return Signature(name, True, f"{'; '.join(worse)}.")
    silent = sum(v.kind not in ("better", "worse", "equivalent", "non-inferior") for _, v, _ in found)
    if not found or silent == len(found):
        return Signature(
            name, None, f"Not decided: {len(found)} comparisons of lorasp with lora or full, none conclusive."
        )
    return Signature(name, False, f"Not seen in {len(found)} comparisons, of which {silent} are not conclusive.")


def _below(c: Comparison, sign: str) -> str:
    if sign == "worse":
        return f"{c.method} below {c.first} on {c.place} ({c.difference:+.1f})"
    return f"{c.first} below {c.method} on {c.place} ({-(c.difference or 0.0):+.1f})"


def memory(grid: Grid, profiles: Sequence[Profile]) -> Signature:
    """Peak memory of lorasp, measured alone, not `LEAST_FALL` below lora's of the same model, precision, batch."""
    name = "memory does not fall"
    found = {
        m: p for m in grid.methods if (p := profile_of(grid.of_method(m)[0], profiles, finished=True)) and p.peak_bytes
    }
    pairs = [
        (s, r, found[s].peak_bytes or 0, found[r].peak_bytes or 0)
        for s in methods_of(grid, [SUBJECT])
        for r in methods_of(grid, ["lora"])
        if s in found and r in found and _way(found[s]) == _way(found[r])
    ]
    if not pairs:
        return Signature(name, None, "Not checked: no profiles of lorasp and lora that differ in nothing else.")
    seen = any(other - own < LEAST_FALL * other for _, _, own, other in pairs)
    told = "; ".join(_falls_by(*pair) for pair in pairs)
    start = "" if seen else "Not seen: "
    return Signature(
        name, seen, f"{start}{told}; one measurement each, and less than {100 * LEAST_FALL:.0f} % is no fall."
    )


def _falls_by(method: str, other: str, own: int, base: int) -> str:
    fall = 100 * (base - own) / base
    return (
        f"{method} peaks at {size(own)}, {other} at {size(base)} ({abs(fall):.1f} % {'less' if fall >= 0 else 'more'})"
    )


def _way(p: Profile) -> tuple[object, ...]:
    return p.model_revision, p.dtype, p.quantize, p.recompute, p.device, p.batch_size, p.length


def instability(grid: Grid, collapses: Mapping[str, TaskCollapses]) -> Signature:
    """Runs of any method that diverged or collapsed, losses that rise again or do not fall, tasks nobody learned."""
    name = "training is unstable or stuck"
    reasons = {key: why for one in collapses.values() for key, why in one.reasons.items()}
    broken = [r for r in grid.records if reasons.get(r.key) == NOT_FINITE]
    curves = {r.key: [loss for _, loss in r.loss_curve] for r in grid.records if len(r.loss_curve) >= FEWEST_POINTS}
    rising = [r for r in grid.records if r.key in curves and rises(curves[r.key])]
    rose = {r.key for r in rising}
    stuck = [r for r in grid.records if r.key in curves and r.key not in rose and not falls(curves[r.key])]
    some, never, unlearned = _collapsed(collapses)
    parts = [f"diverged: {name_runs(broken)}"] if broken else []
    parts += [f"runs collapsed: {'; '.join(some)}"] if some else []
    parts += [f"never learned: {', '.join(never)}"] if never else []
    if unlearned:
        parts.append(f"no method gains {LEAST_GAIN:g} points over the majority baseline on {', '.join(unlearned)}")
    parts += [f"loss rises again: {name_runs(rising)}"] if rising else []
    parts += [f"loss ends no lower than it began: {name_runs(stuck)}"] if stuck else []
    if parts:
        return Signature(name, True, f"{'; '.join(parts)} (of {len(grid.records)} cells).")
    text = f"Not seen: no run diverged or collapsed, and all of {len(curves)} loss curves fall and stay down."
    return Signature(name, False if curves else None, text if curves else "No run collapsed; there are no loss curves.")


def _collapsed(collapses: Mapping[str, TaskCollapses]) -> tuple[list[str], list[str], list[str]]:
    """By task, the methods of which some runs collapsed; methods that never learned a task; tasks nobody learned."""
    some, never, unlearned = [], [], []
    for task, one in collapses.items():
        if not one.shares:
            continue
        if not one.learned:
            unlearned.append(task)
            continue
        counts = [f"{m} {share}" for m, share in one.shares.items() if share.collapsed and not share.never_learned]
        if counts:
            some.append(f"on {task} {', '.join(counts)}")
        never += [f"{m} on {task} ({share})" for m, share in one.shares.items() if share.never_learned]
    return some, never, unlearned


def rises(losses: Sequence[float]) -> bool:
    """Whether the last quarter has lost more than half of what was gained at best, beyond three times the noise."""
    means, noise = _smoothed(losses)
    best = min(means)
    return bool(means[-1] - best > max(0.5 * (means[0] - best), 3 * noise))


def falls(losses: Sequence[float]) -> bool:
    """Whether the last quarter lies below the first."""
    window = _window(losses)
    return math.fsum(losses[-window:]) < math.fsum(losses[:window])


def _window(losses: Sequence[float]) -> int:
    return max(2, len(losses) // 4)


def _smoothed(losses: Sequence[float]) -> tuple[list[float], float]:
    """Means over a quarter of the curve, and their noise."""
    window = _window(losses)
    means = [math.fsum(losses[i : i + window]) / window for i in range(len(losses) - window + 1)]
    squares = [(b - a) ** 2 for a, b in itertools.pairwise(losses)]
    # Steps from point to point hold twice the noise's variance and little of a trend.
    return means, (math.fsum(squares) / len(squares) / 2) ** 0.5 * (2 / window) ** 0.5


def masks(grid: Grid, parts: Mapping[tuple[str, str], Sequence[Component]]) -> Signature:
    """Spread over mask seeds above the spread over all other seeds together, by tests corrected together."""
    name = "results depend on the mask"
    subjects = methods_of(grid, [SUBJECT])
    found = {place: c for place, c in parts.items() if place[1] in subjects and any(x.stream == "mask" for x in c)}
    if not found:
        text = "Not checked: masks have no seeds of their own; run lorasp with --seeds init=0..4,mask=0..4."
        return Signature(name, None, text)
    own = {place: next(c for c in every if c.stream == "mask") for place, every in found.items()}
    others = {place: sum(c.variance for c in e if c.stream not in ("mask", REST)) for place, e in found.items()}
    larger = [place for place, mask in own.items() if mask.variance > others[place]]
    corrected = dict(zip(own, holm([mask.p for mask in own.values()]), strict=True))
    sure = [place for place in larger if (p := corrected[place]) is None or p < ALPHA]
    told = {
        p: f"{p[1]} on {p[0]}: {own[p].variance ** 0.5:.1f} over masks, {others[p] ** 0.5:.1f} else" for p in larger
    }
    if sure:
        return Signature(name, True, f"Standard deviations: {'; '.join(told[p] for p in sure)} points.")
    if larger:
        text = f"Not decided: larger over masks than over other seeds, not surely: {'; '.join(told.values())} points."
        return Signature(name, None, text)
    return Signature(
        name, False, f"Not seen on {len(found)} tasks and methods: estimates over masks are not above other seeds'."
    )
