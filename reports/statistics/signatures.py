"""Signs that LoRA-SP (arXiv 2403.08822) fails: lower scores, memory that stays, unstable runs, masks that matter."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.record import Profile, Record
from reports.frames import Grid, score, seed_text
from reports.solo import profile_of, size
from reports.statistics.comparisons import Comparison
from reports.statistics.variance import REST, Component
from reports.statistics.verdicts import Verdict

SUBJECT = "lorasp"
REFERENCES = ("lora", "full")
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
) -> tuple[Signature, ...]:
    """All checks of one suite; `parts` are the variance components of (task, method)."""
    return (degradation(grid, judged), memory(grid, profiles), instability(grid), masks(grid, parts))


def methods_of(grid: Grid, names: Sequence[str]) -> list[str]:
    return [m for m in grid.methods if grid.of_method(m) and grid.of_method(m)[0].cell.method in names]


def degradation(grid: Grid, judged: Sequence[tuple[Comparison, Verdict]]) -> Signature:
    """lorasp below lora or full by a corrected test."""
    name = "scores below lora or full"
    subjects, references = methods_of(grid, [SUBJECT]), methods_of(grid, REFERENCES)
    found = [(c, v) for c, v in judged if c.method in subjects and c.first in references]
    worse = [f"{c.method} below {c.first} on {c.place} ({c.difference:+.1f})" for c, v in found if v.kind == "worse"]
    if worse:
        return Signature(name, True, f"{'; '.join(worse)}.")
    silent = sum(v.kind not in ("better", "equivalent", "non-inferior") for _, v in found)
    if not found or silent == len(found):
        return Signature(
            name, None, f"Not decided: {len(found)} comparisons of lorasp with lora or full, none conclusive."
        )
    return Signature(name, False, f"Not seen in {len(found)} comparisons, of which {silent} are not conclusive.")


def memory(grid: Grid, profiles: Sequence[Profile]) -> Signature:
    """Peak memory of lorasp, measured alone, not below that of lora."""
    name = "memory does not fall"
    peaks = {
        m: p.peak_bytes
        for m in grid.methods
        if (p := profile_of(grid.of_method(m)[0], profiles, finished=True)) and p.peak_bytes
    }
    pairs = [
        (s, r) for s in methods_of(grid, [SUBJECT]) for r in methods_of(grid, ["lora"]) if s in peaks and r in peaks
    ]
    if not pairs:
        return Signature(name, None, "Not checked: no profiles of lorasp and lora.")
    high = [f"{s} peaks at {size(peaks[s])}, {r} at {size(peaks[r])}" for s, r in pairs if peaks[s] >= peaks[r]]
    if high:
        return Signature(name, True, f"{'; '.join(high)}.")
    low = [f"{s} {size(peaks[r] - peaks[s])} below {r}" for s, r in pairs]
    return Signature(name, False, f"Not seen: {'; '.join(low)}, one measurement each.")


def instability(grid: Grid) -> Signature:
    """Cells that diverged, and losses that rose again while training."""
    name = "unstable training"
    broken = [r for r in grid.records if "not finite" in (r.reason or "") or (r.status == "ok" and _no_number(grid, r))]
    curves = [r for r in grid.records if len(r.loss_curve) >= FEWEST_POINTS]
    rising = [r for r in curves if rises([loss for _, loss in r.loss_curve])]
    if not broken and not rising:
        text = f"Not seen: no cell diverged, and none of {len(curves)} loss curves rises."
        return Signature(name, False if curves else None, text if curves else "Not checked: no loss curves.")
    parts = [f"diverged: {_named(broken)}"] if broken else []
    parts += [f"loss rises again: {_named(rising)}"] if rising else []
    return Signature(name, True, f"{'; '.join(parts)} (of {len(grid.records)} cells).")


def _no_number(grid: Grid, record: Record) -> bool:
    return score(record, grid.averages[0]) is None


def _named(records: Sequence[Record]) -> str:
    names = [f"{r.cell.label} on {r.cell.task} (seeds {seed_text(r.cell.seeds)})" for r in records]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def rises(losses: Sequence[float]) -> bool:
    """Whether the last quarter has lost more than half of what was gained at best, beyond three times the noise."""
    window = max(2, len(losses) // 4)
    means = [statistics.fmean(losses[i : i + window]) for i in range(len(losses) - window + 1)]
    steps = [b - a for a, b in itertools.pairwise(losses)]
    # Steps from point to point hold twice the noise's variance and little of a trend.
    noise = (statistics.fmean(s * s for s in steps) / 2) ** 0.5 * (2 / window) ** 0.5
    best = min(means)
    return bool(means[-1] - best > max(0.5 * (means[0] - best), 3 * noise))


def masks(grid: Grid, parts: Mapping[tuple[str, str], Sequence[Component]]) -> Signature:
    """Spread over mask seeds above the spread over all other seeds together."""
    name = "results depend on the mask"
    subjects = methods_of(grid, [SUBJECT])
    found = {place: c for place, c in parts.items() if place[1] in subjects and any(x.stream == "mask" for x in c)}
    if not found:
        text = "Not checked: masks have no seeds of their own; run lorasp with --seeds init=0..4,mask=0..4."
        return Signature(name, None, text)
    high = []
    for (task, method), every in found.items():
        mask = next(c for c in every if c.stream == "mask")
        others = sum(c.variance for c in every if c.stream not in ("mask", REST))
        if mask.variance > others and (mask.p is None or mask.p < 0.05):
            high.append(
                f"{method} on {task}: sd {mask.variance**0.5:.1f} over masks, {others**0.5:.1f} over other seeds"
            )
    if high:
        return Signature(name, True, f"{'; '.join(high)} points.")
    return Signature(
        name, False, f"Not seen on {len(found)} tasks and methods: masks move scores no more than other seeds."
    )
