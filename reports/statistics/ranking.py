"""What the first screen, the terminal and the Markdown show: one ranking of the methods per suite, and the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.core.profile import Profile
from reports.compare import Coverage, estimate_average, estimate_task, find_coverage
from reports.frames import Grid
from reports.statistics.answers import build_answer, describe_truncations, list_caveats
from reports.statistics.collapse import TaskCollapses
from reports.statistics.costs import Spread, describe_load, find_cost
from reports.statistics.stability import estimate_without_collapsed
from reports.statistics.student import Estimate, Student
from reports.statistics.verdicts import Kind

if TYPE_CHECKING:
    from reports.statistics.analysis import Analysis, ComparisonResult

REVERSED: Mapping[Kind, Kind] = {
    "better": "worse",
    "worse": "better",
    "non-inferior": "undecided",
    "non-inferior without collapses": "undecided",
}
"""The verdict of a comparison with its two methods exchanged, where that is another one."""


@dataclass(frozen=True)
class RankingRow:
    """One method.

    `task_means` and `mean` are in points, for new seeds; None without a score. `difference` is the paired one to the
    baseline, None where there is no interval; `verdict` is None for the baseline and for a method that is not compared
    with it. `trainable_parameters` exclude the head. `samples_per_second`: median, 10th and 90th percentile of the
    timed steps. `collapsed` of `runs` collapsed. `is_tied`: not shown to be worse than the best (see best_group).
    `peak_kind` says what the peak counts, `load` what else ran while memory and speed were measured.
    """

    method: str
    task_means: Mapping[str, Estimate | None]
    mean: Estimate | None
    mean_without_collapsed: Estimate | None
    difference: Student | None
    verdict: Kind | None
    trainable_parameters: int | None
    peak_bytes: int | None
    samples_per_second: Spread | None
    collapsed: int
    runs: int
    is_tied: bool
    peak_kind: str = ""
    load: str = ""


@dataclass(frozen=True)
class Ranking:
    """The methods of a suite by their mean over `tasks`, the highest first; those without a mean stand last.

    `average` says what the mean is over. `answer` is one sentence; `caveats` are at most two short ones.
    """

    suite: str
    average: str
    baseline: str
    tasks: tuple[str, ...]
    rows: tuple[RankingRow, ...]
    answer: str
    caveats: tuple[str, ...]


def build_rankings(analysis: Analysis, profiles: Sequence[Profile]) -> tuple[Ranking, ...]:
    """One ranking per suite, in the order of the report."""
    return tuple(_build_ranking(grid, analysis, profiles) for grid in analysis.grids)


def list_ranked_tasks(grid: Grid, cover: Coverage) -> tuple[str, ...]:
    """The tasks of the mean: those of the average, or the only task of a suite without an average."""
    return cover.tasks or (grid.tasks if len(grid.tasks) == 1 else ())


def estimate_overall(grid: Grid, method: str, cover: Coverage) -> Estimate | None:
    """The mean that methods are ranked by."""
    if cover.tasks:
        return estimate_average(grid, method, cover)
    return estimate_task(grid, grid.tasks[0], method, cover.average) if len(grid.tasks) == 1 else None


def _build_ranking(grid: Grid, analysis: Analysis, profiles: Sequence[Profile]) -> Ranking:
    cover = find_coverage(grid, grid.averages[0])
    tasks = list_ranked_tasks(grid, cover)
    baseline = analysis.baselines[grid.suite]
    judged = [j for j in analysis.judged if j.comparison.suite == grid.suite]
    overall = [j for j in judged if j.comparison.tasks == tasks and (j.comparison.whole or len(tasks) == 1)]
    primary = analysis.primary.get(grid.suite, ())
    # other comparisons are not on the first screen, so a caveat about them would puzzle
    dominations = [d for d in analysis.dominations.get(grid.suite, ()) if (d.method, d.first) in primary]
    group, collapses = analysis.best.get(grid.suite), analysis.collapses.get(grid.suite, {})
    rows = [
        _build_row(
            grid,
            method,
            cover,
            profiles,
            _find_difference(overall, method, baseline),
            collapses,
            group is not None and method in group.members,
        )
        for method in grid.methods
    ]
    # the sort is stable: methods without a mean stay in their order at the end
    rows.sort(key=lambda row: -row.mean.mean if row.mean else float("inf"))
    return Ranking(
        grid.suite,
        cover.label if cover.tasks else ", ".join(tasks),
        baseline,
        grid.tasks,
        tuple(rows),
        build_answer(judged, rows, analysis.margin),
        tuple(list_caveats(judged, cover, analysis.question, dominations, describe_truncations(grid.records))),
    )


def _build_row(
    grid: Grid,
    method: str,
    cover: Coverage,
    profiles: Sequence[Profile],
    difference: tuple[Student | None, Kind | None],
    collapses: Mapping[str, TaskCollapses],
    is_tied: bool,
) -> RankingRow:
    cost = find_cost(grid, method, profiles)
    mean = estimate_overall(grid, method, cover)
    shares = [one.shares[method] for one in collapses.values() if method in one.shares]
    return RankingRow(
        method=method,
        # all tasks, also those that the mean leaves out
        task_means={task: estimate_task(grid, task, method, cover.average) for task in grid.tasks},
        mean=mean,
        mean_without_collapsed=estimate_without_collapsed(
            grid, method, list_ranked_tasks(grid, cover), cover.average, collapses, mean
        ),
        difference=difference[0],
        verdict=difference[1],
        trainable_parameters=cost.trainable_parameters,
        peak_bytes=cost.peak_bytes,
        samples_per_second=cost.speed,
        collapsed=sum(share.collapsed for share in shares),
        runs=sum(share.runs for share in shares),
        is_tied=is_tied,
        peak_kind=cost.peak_kind,
        load=describe_load(cost.profile) if cost.profile else "",
    )


def _find_difference(
    overall: Sequence[ComparisonResult], method: str, baseline: str
) -> tuple[Student | None, Kind | None]:
    """The difference to the baseline and its verdict, turned round where the baseline was compared with the method."""
    for one in overall:
        estimate, kind = one.comparison.estimate, one.verdict.kind
        if (one.comparison.method, one.comparison.first) == (method, baseline):
            return estimate, kind
        if (one.comparison.method, one.comparison.first) == (baseline, method):
            # the sign of the difference changes, its error does not
            turned = estimate and Student(-estimate.value, estimate.se, estimate.df)
            return turned, REVERSED.get(kind, kind)
    return None, None
