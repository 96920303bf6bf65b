"""One method against another on one task or on the mean over tasks, paired by seed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.record import Record
from reports.compare import Coverage, pairs
from reports.frames import Grid, Seeds, score, seed_text
from reports.statistics.bootstrap import generator
from reports.statistics.comparable import check_comparable
from reports.statistics.crossed import Crossed, crossed
from reports.statistics.evidence import Evidence
from reports.statistics.power import Noise
from reports.statistics.shared_seeds import is_crossed, over_seeds, varied
from reports.statistics.student import Student, combined

NEW_BOTH = "new seeds and new examples"
NEW_SEEDS = "new seeds, these examples"


@dataclass(frozen=True)
class Comparison:
    """Score of `method` less that of `first`, in points.

    `place` names a task, or the mean over `tasks`; `pairs` cells were paired of `asked`. `estimate` is the main one,
    meant for `target`; `seeds` and `examples` are its two readings (new seeds with these examples, new examples with
    these seeds). `why` says why there is no estimate, or none of examples. `failed` lists cells without a score,
    `missing` gives for each task that the mean lacks the reason. `varied` names
    the streams whose seeds differ, where not all move together.
    """

    suite: str
    method: str
    first: str
    place: str
    tasks: tuple[str, ...]
    pairs: int
    asked: int
    difference: float | None
    estimate: Student | None
    target: str
    seeds: Student | None
    examples: Student | None
    noise: Noise | None
    why: str = ""
    failed: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False
    varied: str = ""

    @property
    def counted(self) -> str:
        """'5 paired seeds', or '2 of 5 paired seeds' where one of the methods has more."""
        if self.pairs < 2 and self.estimate is not None:
            return "seeds paired on each task, not over all of them"
        few = f"{self.pairs} of {self.asked}" if self.pairs < self.asked else str(self.pairs)
        streams = f" of {self.varied}" if self.varied else ""
        return f"{few} paired seed{'' if few == '1' else 's'}{streams}"


@dataclass(frozen=True)
class Paired:
    """The paired cells of one task: differences by seeds, and on resampled examples [draws, seeds] where kept."""

    gaps: Mapping[Seeds, float]
    cells: Mapping[Seeds, tuple[Record, Record]]
    on_examples: Mapping[Seeds, Any] | None
    groups: int
    why: str


def paired(grid: Grid, task: str, method: str, first: str, average: str, found: Evidence | str) -> Paired:
    """Raises UserError where the cells do not share what a comparison needs."""
    check_comparable([*grid.of(task, method), *grid.of(task, first)], f"{method} against {first}")
    cells = pairs(grid, task, method, first, average)
    gaps = {seeds: (score(a, average) or 0.0) - (score(b, average) or 0.0) for seeds, (a, b) in cells.items()}
    if isinstance(found, str):
        return Paired(gaps, cells, None, 0, found)
    rows, draws = found.examples.rows, found.draws
    on_examples = {seeds: draws[:, rows[a.key]] - draws[:, rows[b.key]] for seeds, (a, b) in cells.items()}
    return Paired(gaps, cells, on_examples, found.examples.groups, "")


def on_task(grid: Grid, task: str, method: str, first: str, one: Paired, seed: int) -> Comparison:
    """The comparison on one task."""
    return _made(grid, (task,), method, first, [one], task, seed)


def on_average(grid: Grid, cover: Coverage, method: str, first: str, parts: Sequence[Paired], seed: int) -> Comparison:
    """The comparison on the mean over the tasks of `cover`, `parts` in their order."""
    return _made(grid, cover.tasks, method, first, parts, cover.label, seed, cover)


def _made(
    grid: Grid,
    tasks: tuple[str, ...],
    method: str,
    first: str,
    parts: Sequence[Paired],
    place: str,
    seed: int,
    cover: Coverage | None = None,
) -> Comparison:
    common = [seeds for seeds in (parts[0].gaps if parts else ()) if all(seeds in p.gaps for p in parts)]
    gaps = [statistics.fmean(p.gaps[seeds] for p in parts) for seeds in common]
    both = _crossed(gaps, common, parts, generator(seed, "crossed", grid.suite, place, method, first))
    seeds_only = both.seeds if both else over_seeds(dict(zip(common, gaps, strict=True)))
    if seeds_only is None and len(common) < 2 and len(parts) > 1:
        seeds_only = _unmatched(parts)
    concerned = cover.tasks + tuple(cover.missing) if cover else tasks
    asked = [sum(len(grid.of(t, m)) for t in tasks) // max(1, len(tasks)) for m in (method, first)]
    difference = seeds_only.value if seeds_only else statistics.fmean(gaps) if gaps else None
    each = seeds_only.df + 1 if seeds_only and len(common) > 1 else min((len(p.gaps) for p in parts), default=0)
    noise = both.noise if both else Noise(seeds_only.se**2 * each) if seeds_only else None
    return Comparison(
        suite=grid.suite,
        method=method,
        first=first,
        place=place,
        tasks=tasks,
        pairs=len(common),
        asked=max(asked),
        difference=difference,
        estimate=both.both if both else seeds_only,
        target=NEW_BOTH if both else NEW_SEEDS,
        seeds=seeds_only,
        examples=both.examples if both else None,
        noise=noise,
        why=_why(common, seeds_only, parts),
        failed=tuple(failures(grid, concerned, (method, first))),
        missing=cover.missing if cover else {},
        whole=cover is not None,
        varied=varied(common),
    )


def _crossed(gaps: Sequence[float], common: Sequence[Seeds], parts: Sequence[Paired], rng: Any) -> Crossed | None:
    import numpy as np

    if len(common) < 2 or any(p.on_examples is None for p in parts):
        return None
    per_task = [np.stack([p.on_examples[seeds] for seeds in common], axis=1) for p in parts if p.on_examples]
    shared = over_seeds(dict(zip(common, gaps, strict=True))) if is_crossed(common) else None
    return crossed(np.asarray(gaps), np.mean(per_task, axis=0), min(p.groups for p in parts), rng, shared)


def _unmatched(parts: Sequence[Paired]) -> Student | None:
    """Tasks that share no seeds are independent, so their variances add."""
    estimates = [over_seeds(p.gaps) for p in parts]
    return combined([e for e in estimates if e]) if all(estimates) else None


def _why(common: Sequence[Seeds], found: Student | None, parts: Sequence[Paired]) -> str:
    if found is None:
        return ("no paired cells", "one paired seed", "no spread over seeds")[min(2, len(common))]
    return next((p.why for p in parts if p.why), "")


def failures(grid: Grid, tasks: Sequence[str], methods: Sequence[str]) -> list[str]:
    """Cells without a score that is a number, with the reason of each."""
    found = []
    for task in tasks:
        for method in methods:
            for r in grid.of(task, method):
                if r.status != "ok" or score(r, grid.averages[0]) is None:
                    why = r.reason or ("its score is not a number" if r.status == "ok" else r.status)
                    found.append(f"{method} on {task}, seeds {seed_text(r.cell.seeds)}: {why}")
    return found
