"""One method against another on one task or on the mean over tasks, paired by seed."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.core.looks import GUARD_SEEDS
from harness.core.record import Record
from reports.compare import Coverage, collect_scores_by_key, compute_differences, find_common_seeds, find_pairs
from reports.frames import Grid, Seeds, cache_in_grid, format_seeds
from reports.statistics.collapse import TaskCollapses, describe_collapses, join_refusals, list_first
from reports.statistics.comparable import check_shared, collect_shared
from reports.statistics.crossed import CrossedEstimate, ExampleVariance, estimate_crossed, estimate_example_variance
from reports.statistics.evidence import Evidence
from reports.statistics.examples import NOT_KEPT
from reports.statistics.power import Noise
from reports.statistics.shared_seeds import CROSSED, describe_streams, estimate_over_seeds, is_crossed
from reports.statistics.sign_flip import compute_sign_flip_p
from reports.statistics.student import Student, merge_estimates

NEW_BOTH = "new seeds and new examples"
NEW_SEEDS = "new seeds, these examples"


@dataclass(frozen=True)
class Comparison:
    """Score of `method` less that of `first`, in points.

    `place` names a task, or the mean over `tasks`; `pairs` cells were paired of `asked`. `estimate` is the main one,
    meant for `target`; `seeds` and `examples` are its two readings (new seeds with these examples, new examples with
    these seeds). `why` says why there is no estimate, or none of examples. `failed` lists cells without a score,
    `missing` gives for each task that the mean lacks the reason. `varied` names
    the streams whose seeds differ, where not all move together. `sign_flip`: p of the sign-flip test over seeds, None
    where runs share seeds. `collapses`: the runs of these tasks that collapsed.
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
    sign_flip: float | None = None
    collapses: tuple[TaskCollapses, ...] = ()

    @property
    def equivalence_refusal(self) -> str:
        """Why neither equivalence nor non-inferiority may be claimed; '' where nothing speaks against it."""
        return join_refusals(self.collapses, self.method, self.first)

    @property
    def excludes_collapses(self) -> bool:
        """Whether both methods have so many runs without a collapse that fewer than 5 % collapse (5 % error)."""
        shares = [one.shares.get(method) for one in self.collapses for method in (self.method, self.first)]
        return bool(shares) and all(s is not None and not s.collapsed and s.runs >= GUARD_SEEDS for s in shares)

    @property
    def short_refusal(self) -> str:
        """The same in few words, by task: 'runs on cola, stsb collapsed; no method learned rte'."""
        refused = [one for one in self.collapses if one.describe_refusal(self.method, self.first)]
        collapsed = [one.task for one in refused if one.is_learned]
        unlearned = [one.task for one in refused if not one.is_learned]
        parts = [f"runs on {list_first(collapsed)} collapsed"] if collapsed else []
        parts += [f"no method learned {list_first(unlearned)}"] if unlearned else []
        return "; ".join(parts)

    @property
    def collapsed(self) -> str:
        """How many runs of both methods collapsed, and what rates that allows, as a sentence."""
        return describe_collapses(self.collapses, self.method, self.first)

    @property
    def collapse_counts(self) -> str:
        """Collapsed runs of the method and of the one it is compared with: '3 of 10, 1 of 10'."""
        counts = []
        for method in (self.method, self.first):
            if shares := [one.shares[method] for one in self.collapses if method in one.shares]:
                counts.append(f"{sum(s.collapsed for s in shares)} of {sum(s.runs for s in shares)}")
        return ", ".join(counts)

    @property
    def counted(self) -> str:
        """'5 paired seeds', or '2 of 5 paired seeds' where one of the methods has more."""
        if self.pairs < 2 and self.estimate is not None:
            return "seeds paired on each task, not over all of them"
        few = f"{self.pairs} of {self.asked}" if self.pairs < self.asked else str(self.pairs)
        streams = f" of {self.varied}" if self.varied else ""
        return f"{few} paired seed{'' if few == '1' else 's'}{streams}"


@dataclass(frozen=True)
class PairedCells:
    """The paired cells of one task, their differences by seeds, and the evidence of examples where it was kept."""

    gaps: Mapping[Seeds, float]
    cells: Mapping[Seeds, tuple[Record, Record]]
    evidence: Evidence | None
    why: str

    @functools.cached_property
    def all_influences(self) -> Any:
        """What each unit of examples adds to the difference of each pair of `cells`, in their order [units, pairs].

        There must be evidence.
        """
        assert self.evidence is not None
        method, first = zip(*self.cells.values(), strict=True)
        return self.evidence.columns([r.key for r in method]) - self.evidence.columns([r.key for r in first])

    def select_influences(self, seeds: Sequence[Seeds]) -> Any:
        """`all_influences` of these seeds, in their order [units, seeds]."""
        if list(seeds) == list(self.cells):
            return self.all_influences
        places = {pair_seeds: place for place, pair_seeds in enumerate(self.cells)}
        return self.all_influences[:, [places[pair_seeds] for pair_seeds in seeds]]


def match_cells(grid: Grid, task: str, method: str, first: str, average: str, found: Evidence | str) -> PairedCells:
    """Raises UserError where the cells do not share what a comparison needs."""
    shared = [_collect_shared(grid, task, name) for name in (method, first)]
    check_shared(task, shared, f"{method} against {first}")
    cells = find_pairs(grid, task, method, first, average)
    gaps = compute_differences(grid, task, method, first, average)
    if isinstance(found, str):
        return PairedCells(gaps, cells, None, found)
    if not found.has(record for pair in cells.values() for record in pair):
        return PairedCells(gaps, cells, None, f"{NOT_KEPT} of one of them")
    return PairedCells(gaps, cells, found, "")


@cache_in_grid
def _collect_shared(grid: Grid, task: str, method: str) -> Mapping[str, Sequence[str]]:
    return collect_shared(grid.of(task, method))


Collapses = Mapping[str, TaskCollapses]
"""Task -> its collapsed runs."""


def compare_on_task(
    grid: Grid, task: str, method: str, first: str, one: PairedCells, collapses: Collapses
) -> Comparison:
    """The comparison on one task."""
    return _build_comparison(grid, (task,), method, first, [one], task, collapses)


def compare_on_average(
    grid: Grid, cover: Coverage, method: str, first: str, parts: Sequence[PairedCells], collapses: Collapses
) -> Comparison:
    """The comparison on the mean over the tasks of `cover`, `parts` in their order."""
    return _build_comparison(grid, cover.tasks, method, first, parts, cover.label, collapses, cover)


def _build_comparison(
    grid: Grid,
    tasks: tuple[str, ...],
    method: str,
    first: str,
    parts: Sequence[PairedCells],
    place: str,
    collapses: Collapses,
    cover: Coverage | None = None,
) -> Comparison:
    paired = estimate_paired(parts)
    common, gaps, both, seeds_only = paired.common, paired.gaps, paired.crossed, paired.seeds
    concerned = cover.tasks + tuple(cover.missing) if cover else tasks
    cell_counts = []
    for name in (method, first):
        cell_counts.append(sum(len(grid.of(task, name)) for task in tasks) // max(1, len(tasks)))
    # a single pair has no interval, but its difference is shown
    difference = seeds_only.value if seeds_only else statistics.fmean(gaps) if gaps else None
    each = seeds_only.df + 1 if seeds_only and len(common) > 1 else min((len(p.gaps) for p in parts), default=0)
    # the variance of one pair, from that of a mean over `each` of them
    noise = both.noise if both else Noise(seeds_only.se**2 * each) if seeds_only else None
    varied = describe_streams(common)
    return Comparison(
        suite=grid.suite,
        method=method,
        first=first,
        place=place,
        tasks=tasks,
        pairs=len(common),
        asked=max(cell_counts),
        difference=difference,
        estimate=paired.estimate,
        target=NEW_BOTH if both else NEW_SEEDS,
        seeds=seeds_only,
        examples=both.examples if both else None,
        noise=noise,
        why=_describe_missing(common, seeds_only, parts),
        failed=tuple(list_failures(grid, concerned, (method, first))),
        missing=cover.missing if cover else {},
        whole=cover is not None,
        varied=varied,
        # one difference has no sign pattern beside its own; an estimate merged over tasks has no common seeds to flip
        sign_flip=compute_sign_flip_p(gaps) if len(gaps) > 1 and CROSSED not in varied else None,
        collapses=tuple(collapses[task] for task in tasks if task in collapses),
    )


@dataclass(frozen=True)
class PairedEstimate:
    """The difference of two methods on the mean over tasks: `gaps` by the seeds that all tasks have in `common`."""

    common: list[Seeds]
    gaps: list[float]
    crossed: CrossedEstimate | None
    seeds: Student | None

    @property
    def estimate(self) -> Student | None:
        """For new seeds and examples where predictions are stored, else for new seeds; every table shows this one."""
        return self.crossed.both if self.crossed else self.seeds


def estimate_paired(parts: Sequence[PairedCells]) -> PairedEstimate:
    """The difference on the mean over the tasks of `parts`."""
    common = find_common_seeds([part.gaps for part in parts])
    gaps = []
    for seeds in common:
        gaps.append(math.fsum([part.gaps[seeds] for part in parts]) / len(parts))
    crossed = _estimate_crossed(gaps, common, parts)
    seeds_only = crossed.seeds if crossed else estimate_over_seeds(dict(zip(common, gaps, strict=True)))
    if seeds_only is None and len(common) < 2 and len(parts) > 1:
        seeds_only = _merge_unmatched(parts)
    return PairedEstimate(common, gaps, crossed, seeds_only)


def _estimate_crossed(
    gaps: Sequence[float], common: Sequence[Seeds], parts: Sequence[PairedCells]
) -> CrossedEstimate | None:
    evidence_parts = [p.evidence for p in parts if p.evidence is not None]
    # a task without stored predictions leaves the mean without an interval for new examples
    if len(common) < 2 or len(evidence_parts) < len(parts):
        return None
    # Test sets are independent, so the variances of the tasks add.
    added = [estimate_example_variance(p.select_influences(common)) for p in parts]
    share = len(parts) ** 2
    examples = ExampleVariance(sum(v.mean for v in added) / share, sum(v.apart for v in added) / share)
    shared = estimate_over_seeds(dict(zip(common, gaps, strict=True))) if is_crossed(common) else None
    return estimate_crossed(gaps, examples, min(one.examples.groups for one in evidence_parts), shared)


def _merge_unmatched(parts: Sequence[PairedCells]) -> Student | None:
    """Tasks that share no seeds are independent, so their variances add."""
    estimates = [estimate_over_seeds(p.gaps) for p in parts]
    return merge_estimates([e for e in estimates if e]) if all(estimates) else None


def _describe_missing(common: Sequence[Seeds], found: Student | None, parts: Sequence[PairedCells]) -> str:
    if found is None:
        return ("no paired cells", "one paired seed", "no spread over seeds")[min(2, len(common))]
    return next((p.why for p in parts if p.why), "")


def list_failures(grid: Grid, tasks: Sequence[str], methods: Sequence[str]) -> list[str]:
    """Cells without a score that is a number, with the reason of each."""
    return [line for task in tasks for method in methods for line in _list_failures_of(grid, task, method)]


@cache_in_grid
def _list_failures_of(grid: Grid, task: str, method: str) -> Sequence[str]:
    scores = collect_scores_by_key(grid, task, method, grid.averages[0])
    lines = []
    for r in grid.of(task, method):
        if r.key not in scores:
            why = r.reason or ("its score is not a number" if r.status == "ok" else r.status)
            lines.append(f"{method} on {task}, seeds {format_seeds(r.cell.seeds)}: {why}")
    return lines
