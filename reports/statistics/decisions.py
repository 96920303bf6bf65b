"""The looks of `--seeds auto`: whether the primary comparisons are decided, or which methods need more seeds.

    records of the first n seeds ──> primary comparisons ──> sequential p ──> Holm ──> better, worse, equivalent

A comparison is decided over new seeds on these examples: more seeds do not lower the error of the examples. It is

better, worse   by two tests of the paired differences that must agree, collapsed runs included: Student's t and Hall's,
                which allows for skewness (see skewness)
equivalent      for runs that do not collapse: by two one-sided tests of the same kind at the margin, if no run
                collapsed and so many seeds without a collapse show that fewer than 5 % collapse: (1 - 0.05) ** n counts
                as a further p, and the largest decides
failed          a cell has no score: nothing is claimed, and further seeds would not help

"n seeds without a collapse" holds at a look only if it held at all looks before, so this p needs no correction for
looks. Where seeds collapse, t-intervals of all runs are far too narrow, so the interval is that of the seeds without a
collapsed run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.core.looks import TOLERATED_COLLAPSES, Decision, Look, LookedComparison, Looks
from harness.core.record import Record
from reports.compare import compute_differences, find_common_seeds, find_coverage
from reports.frames import Grid, Seeds, build_grids, get_seeds
from reports.statistics.collapse import TaskCollapses, compute_upper_rate, find_collapses
from reports.statistics.comparisons import Comparison, compare_on_average, compare_on_task, match_cells
from reports.statistics.equivalence import EQUIVALENCE_ALPHA, compute_equivalence_p
from reports.statistics.evidence import find_constant_runs
from reports.statistics.families import DEFAULT_QUESTION, Pair, Question, resolve_primary
from reports.statistics.holm import apply_holm
from reports.statistics.power import ALPHA
from reports.statistics.sequential import compute_sequential_interval, compute_sequential_p
from reports.statistics.skewness import estimate_skewed_mean
from reports.statistics.student import CONFIDENCE

EQUIVALENCE_LEVEL = 1 - 2 * EQUIVALENCE_ALPHA
WITHOUT_EXAMPLES = "decided over new seeds on these examples"


@dataclass(frozen=True)
class _Measured:
    """What one look knows of a comparison that is not decided; `p` and `equivalence_p` are not yet adjusted.

    `within_p`: that of the two one-sided tests alone, without the guard against collapses. `intervals`: level -> low
    and high of the difference of the seeds without a collapsed run.
    """

    comparison: Comparison
    p: float | None
    equivalence_p: float | None
    within_p: float | None
    stable_difference: float | None
    intervals: Mapping[float, tuple[float, float]]
    collapsed: tuple[int, int]


@dataclass
class SequentialTests:
    """The tests of an automatic run. `decide` is called with each look in turn; what is decided stays so.

    `margin` in points; `cells` is the folder of kept predictions, by which constant runs count as collapsed.
    """

    looks: Looks
    margin: float
    question: Question = DEFAULT_QUESTION
    cells: Path | None = None
    _decided: dict[tuple[str, str, str, tuple[str, ...]], tuple[LookedComparison, _Measured]] = field(
        default_factory=dict
    )

    def decide(self, records: Sequence[Record], seeds: int) -> tuple[Look, frozenset[str]]:
        """The look at the first `seeds` seeds, and the keys of the records of methods that need more of them."""
        grids = build_grids(records)
        primary = resolve_primary(self.question.primary, grids)
        comparisons: list[Comparison] = []
        collapses: dict[str, Mapping[str, TaskCollapses]] = {}
        for grid in grids:
            collapses[grid.suite] = self._find_collapses(grid)
            comparisons += _compare_primary(grid, primary[grid.suite], collapses[grid.suite])
        by_suite = {grid.suite: grid for grid in grids}
        measured = []
        for c in comparisons:
            known = self._decided.get(_get_place(c))
            measured.append(known[1] if known else self._measure(by_suite[c.suite], c, collapses[c.suite], seeds))
        looked = self._judge(measured, seeds)
        open_methods = {(one.suite, name) for one in looked if one.is_open for name in (one.method, one.first)}
        keys = [record.key for suite, name in open_methods for record in by_suite[suite].select_method(name)]
        return Look(seeds=seeds, comparisons=looked), frozenset(keys)

    def _find_collapses(self, grid: Grid) -> dict[str, TaskCollapses]:
        constant = find_constant_runs(grid, dict.fromkeys(grid.tasks, WITHOUT_EXAMPLES), self.cells)
        return find_collapses(grid, grid.averages[0], constant, self.question.collapse_margin)

    def _measure(self, grid: Grid, c: Comparison, collapses: Mapping[str, TaskCollapses], seeds: int) -> _Measured:
        counts, number = self.looks.counts, self.looks.counts.index(seeds)
        collapsed = [_find_collapsed_seeds(grid, c.tasks, name, collapses) for name in (c.method, c.first)]
        stable = _list_stable_gaps(grid, c, collapsed[0] | collapsed[1])
        estimate, every = (estimate_skewed_mean(gaps) for gaps in (stable, _list_stable_gaps(grid, c, set())))
        intervals = {}
        if estimate is not None:
            for level in (CONFIDENCE, EQUIVALENCE_LEVEL):
                intervals[level] = compute_sequential_interval(counts, number, estimate, level)
        p = equivalence_p = within_p = None
        if every is not None and not c.failed:
            p = compute_sequential_p(counts, number, every.p)
            # a two-sided level of 2 alpha spends alpha on each side
            within_p = compute_sequential_p(counts, number, 2 * compute_equivalence_p(every, self.margin)) / 2
            # a refused claim counts in the family, or collapses would ease the correction
            guard_p = 1.0 if c.equivalence_refusal else (1 - TOLERATED_COLLAPSES) ** c.pairs
            equivalence_p = max(within_p, guard_p)
        mean = sum(stable) / len(stable) if stable else None
        return _Measured(c, p, equivalence_p, within_p, mean, intervals, (len(collapsed[0]), len(collapsed[1])))

    def _judge(self, measured: Sequence[_Measured], seeds: int) -> list[LookedComparison]:
        """The comparisons of a look; those that it decides are stored."""
        adjusted = apply_holm([one.p for one in measured])
        equal = apply_holm([one.equivalence_p for one in measured])
        within = apply_holm([one.within_p for one in measured])
        looked = []
        for one, p, equivalence_p, within_p in zip(measured, adjusted, equal, within, strict=True):
            place = _get_place(one.comparison)
            if place not in self._decided:
                decision = _choose_decision(one.comparison, p, equivalence_p)
                why = _explain(one.comparison, decision, within_p, self.margin)
                row = _build_row(one, decision, seeds, p, equivalence_p, why)
                if not row.is_open:
                    self._decided[place] = row, one
                looked.append(row)
            else:
                looked.append(self._decided[place][0])
        return looked


def _get_place(c: Comparison) -> tuple[str, str, str, tuple[str, ...]]:
    # the tasks of the mean are no part of it: a task that loses its scores later must not undo a decision
    return c.suite, c.method, c.first, () if c.whole else c.tasks


def _compare_primary(grid: Grid, pairs: Sequence[Pair], collapses: Mapping[str, TaskCollapses]) -> list[Comparison]:
    """The primary comparisons of a suite as the report has them: on its average, else on each task."""
    average = grid.averages[0]
    cover = find_coverage(grid, average)
    comparisons = []
    for method, first in pairs:
        parts = {task: match_cells(grid, task, method, first, average, WITHOUT_EXAMPLES) for task in grid.tasks}
        if len(grid.list_tasks(average)) > 1:
            covered = [parts[task] for task in cover.tasks]
            comparisons.append(compare_on_average(grid, cover, method, first, covered, collapses))
        else:
            comparisons += [compare_on_task(grid, task, method, first, one, collapses) for task, one in parts.items()]
    return comparisons


def _find_collapsed_seeds(
    grid: Grid, tasks: Sequence[str], method: str, collapses: Mapping[str, TaskCollapses]
) -> set[Seeds]:
    """The seeds of a method with a collapsed run on one of the tasks."""
    seeds = set()
    for task in tasks:
        reasons = collapses[task].reasons if task in collapses else {}
        seeds |= {get_seeds(record) for record in grid.of(task, method) if record.key in reasons}
    return seeds


def _list_stable_gaps(grid: Grid, c: Comparison, collapsed: set[Seeds]) -> list[float]:
    """The mean difference over the tasks of each paired seed without a collapsed run."""
    gaps = [compute_differences(grid, task, c.method, c.first, grid.averages[0]) for task in c.tasks]
    stable = [seeds for seeds in find_common_seeds(gaps) if seeds not in collapsed]
    return [sum(of_task[seeds] for of_task in gaps) / len(gaps) for seeds in stable]


def _choose_decision(c: Comparison, p: float | None, equivalence_p: float | None) -> Decision:
    """A difference comes first, as in the verdicts of a fixed number of seeds; the p are adjusted."""
    if c.failed:
        return "failed"
    if c.seeds is not None and p is not None and p < ALPHA:
        return "better" if c.seeds.value > 0 else "worse"
    return "equivalent" if equivalence_p is not None and equivalence_p < EQUIVALENCE_ALPHA else "undecided"


def _explain(c: Comparison, decision: Decision, within_p: float | None, margin: float) -> str:
    """Why a comparison is open or failed, where that is not just too much noise."""
    if decision == "failed":
        return f"no score: {c.failed[0]}" + (f" and {len(c.failed) - 1} more" if len(c.failed) > 1 else "")
    if decision != "undecided":
        return ""
    if c.equivalence_refusal:
        return f"no claim of equivalence: {c.short_refusal}"
    if within_p is not None and within_p < EQUIVALENCE_ALPHA:
        rate = 100 * compute_upper_rate(0, c.pairs)
        return f"within {margin:g} where no run collapses, but {c.pairs} seeds allow collapses of {rate:.0f} %"
    return ""


def _build_row(
    one: _Measured, decision: Decision, seeds: int, p: float | None, equivalence_p: float | None, why: str
) -> LookedComparison:
    c = one.comparison
    # two one-sided tests of 5 % go by the 90 % interval: the 95 % interval may reach beyond the margin
    level = EQUIVALENCE_LEVEL if decision == "equivalent" else CONFIDENCE
    low, high = one.intervals.get(level, (None, None))
    return LookedComparison(
        suite=c.suite,
        method=c.method,
        first=c.first,
        place=c.place,
        tasks=list(c.tasks),
        decision=decision,
        seeds=seeds,
        pairs=c.pairs,
        difference=c.difference,
        difference_of_stable=one.stable_difference,
        low=low,
        high=high,
        level=level,
        p=p,
        # a refused claim has no p to show
        equivalence_p=None if c.equivalence_refusal else equivalence_p,
        collapsed=one.collapsed[0],
        collapsed_first=one.collapsed[1],
        why=why,
    )
