"""The records of one suite to comparisons, collapses and the best group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.compare import Coverage, find_coverage
from reports.document import Rows
from reports.frames import Grid
from reports.statistics.best_group import BestGroup, find_best_group, pick_best
from reports.statistics.collapse import TaskCollapses, find_collapses
from reports.statistics.comparisons import (
    Comparison,
    PairedCells,
    compare_on_average,
    compare_on_task,
    estimate_paired,
    match_cells,
)
from reports.statistics.evidence import Evidence, collect_evidence, find_constant_runs
from reports.statistics.families import Pair
from reports.statistics.opponents import find_baseline, list_opponents
from reports.statistics.ranking import estimate_overall, list_ranked_tasks
from reports.statistics.seed_pairs import build_pair_rows as pair_rows, compute_standard_errors
from reports.statistics.stability import Domination, build_stability_rows, find_dominations
from reports.statistics.translation import Pairing, build_translation_rows


@dataclass(frozen=True)
class SuiteAnalysis:
    """What is known of a suite before the tests, which span all suites. `evidence`: task -> the examples, or why none.

    `pairs`, `translations` and `stability` are rows of the frames of `Analysis` with these names.
    """

    grid: Grid
    evidence: Mapping[str, Evidence | str]
    comparisons: Sequence[Comparison]
    pairs: Rows
    translations: Rows
    collapses: Mapping[str, TaskCollapses]
    best: BestGroup | None
    stability: Rows
    dominations: Sequence[Domination]


def analyse_suite(grid: Grid, cells: Path | None, primary: Sequence[Pair], collapse_margin: float) -> SuiteAnalysis:
    """The comparisons of a suite's methods, with what their tests and tables need; `cells` as in `analyse`."""
    average = grid.averages[0]
    cover = find_coverage(grid, average)
    evidence_by_task = collect_evidence(grid, average, cells)
    constant = find_constant_runs(grid, evidence_by_task, cells)
    collapses = find_collapses(grid, average, constant, collapse_margin)
    comparisons: list[Comparison] = []
    rows: list[dict[str, Any]] = []
    texts: list[Pairing] = []
    for method, first in list_opponents(grid, primary):
        parts = {task: match_cells(grid, task, method, first, average, evidence_by_task[task]) for task in grid.tasks}
        comparisons += [compare_on_task(grid, task, method, first, one, collapses) for task, one in parts.items()]
        # a mean over one task would repeat that task
        if len(grid.list_tasks(average)) > 1:
            comparisons.append(
                compare_on_average(grid, cover, method, first, [parts[t] for t in cover.tasks], collapses)
            )
        for task, one in parts.items():
            names = {"suite": grid.suite, "task": task, "method": method, "first": first}
            rows += [names | row for row in _build_pair_rows(one)]
            texts += [(names, pair) for pair in one.cells.values()]
    best = _find_best(grid, cover, evidence_by_task, comparisons)
    stability = build_stability_rows(grid, find_baseline(grid, primary), average, collapses)
    dominations = find_dominations(comparisons, grid, average)
    translations = build_translation_rows(texts, cells)
    return SuiteAnalysis(
        grid, evidence_by_task, comparisons, rows, translations, collapses, best, stability, dominations
    )


def _find_best(
    grid: Grid, cover: Coverage, evidence: Mapping[str, Evidence | str], comparisons: Sequence[Comparison]
) -> BestGroup | None:
    """The methods tied with the best on the average, by the estimates of the comparisons where there are such."""
    means = {m: e.mean for m in grid.methods if (e := estimate_overall(grid, m, cover)) is not None}
    if not means:
        return None
    best, tasks = pick_best(means), list_ranked_tasks(grid, cover)
    # the estimates of the tables where there are such, so that ranking and tables agree
    known = {c.method: c.estimate for c in comparisons if c.first == best and c.tasks == tasks}
    below_best = {}
    for method in (m for m in means if m != best):
        if method in known:
            below_best[method] = known[method]
        else:
            parts = [match_cells(grid, task, method, best, cover.average, evidence[task]) for task in tasks]
            below_best[method] = estimate_paired(parts).estimate
    return find_best_group(means, below_best)


def _build_pair_rows(one: PairedCells) -> Iterable[dict[str, Any]]:
    if one.evidence is None or not one.cells:
        return ()
    errors = compute_standard_errors(one.all_influences)
    return pair_rows(list(one.cells.values()), one.evidence.examples, [one.gaps[seeds] for seeds in one.cells], errors)
