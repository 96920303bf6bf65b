"""Estimates per task and on an average, and the paired difference of two methods."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.core.record import Record
from reports.frames import Grid, Seeds, cache_in_grid, get_score, get_seeds
from reports.statistics.shared_seeds import estimate_interval
from reports.statistics.student import Estimate

NOT_RUN = "not run"
"""Why the mean lacks a task that nobody asked for."""
MAX_HEADLINE_METRICS = 6
"""Of an old record, which does not say what its headline score is the mean of, at most so many metrics are tried."""


@dataclass(frozen=True)
class Coverage:
    """The tasks that a mean over tasks is taken of: those that each method with any score has a score for."""

    average: str
    tasks: tuple[str, ...]
    missing: Mapping[str, str] = field(hash=False)

    @property
    def full(self) -> bool:
        return bool(self.tasks) and not self.missing

    @property
    def label(self) -> str:
        if self.full:
            return f"average of {len(self.tasks)} task{'s' * (len(self.tasks) > 1)}"
        return f"mean of {len(self.tasks)} task{'' if len(self.tasks) == 1 else 's'}"


@cache_in_grid
def find_coverage(grid: Grid, average: str) -> Coverage:
    """What the average covers here; `missing` says of each other task why."""
    declared = grid.list_tasks(average)
    scored: dict[str, list[str]] = {}
    for task in declared:
        scored[task] = [method for method in grid.methods if collect_scores(grid, task, method, average)]
    # a method that failed everywhere is listed as failed, and takes no task away from the others
    alive = set(itertools.chain.from_iterable(scored.values()))
    missing: dict[str, str] = {}
    for task, methods in scored.items():
        lacking = [method for method in grid.methods if method in alive and method not in methods]
        if lacking or not alive:
            missing[task] = _describe_missing(grid, task, lacking)
    return Coverage(average, tuple(task for task in declared if task not in missing), missing)


def _describe_missing(grid: Grid, task: str, methods: Sequence[str]) -> str:
    if task not in grid.tasks:
        return NOT_RUN
    return f"no score from {', '.join(methods or grid.methods)}"


# ---------------------------------------------------------------- scores by seed


@cache_in_grid
def collect_scores_by_key(grid: Grid, task: str, method: str, average: str) -> Mapping[str, float]:
    """Record key -> score, of the cells that have one."""
    scores = {record.key: get_score(record, average) for record in grid.of(task, method)}
    return {key: value for key, value in scores.items() if value is not None}


@cache_in_grid
def collect_scores(grid: Grid, task: str, method: str, average: str) -> Mapping[Seeds, float]:
    """Seeds -> score, of the cells that have one."""
    by_key = collect_scores_by_key(grid, task, method, average)
    # the last of several cells of the same seeds counts, also where it has no score
    scores = {get_seeds(record): by_key.get(record.key) for record in grid.of(task, method)}
    return {seeds: value for seeds, value in scores.items() if value is not None}


def collect_metric(grid: Grid, task: str, method: str, metric: str) -> dict[Seeds, float]:
    """Values that are numbers, of the cells that have one."""
    values = {get_seeds(r): r.scores[metric] for r in grid.of(task, method) if r.status == "ok" and metric in r.scores}
    return {seeds: value for seeds, value in values.items() if math.isfinite(value)}


def mean_by_seed(values: Sequence[Mapping[Seeds, float]]) -> dict[Seeds, float]:
    """Mean over tasks for each seed that every task has."""
    means: dict[Seeds, float] = {}
    for seeds in find_common_seeds(values):
        # the same bits in any order of the tasks
        means[seeds] = math.fsum([of_task[seeds] for of_task in values]) / len(values)
    return means


def find_common_seeds(values: Sequence[Mapping[Seeds, object]]) -> list[Seeds]:
    """Seeds that all of the mappings have, in the order of the first; none of no mapping."""
    if not values:
        return []
    common = set(values[0]).intersection(*values[1:])
    return [seeds for seeds in values[0] if seeds in common]


@cache_in_grid
def estimate_task(grid: Grid, task: str, method: str, average: str) -> Estimate | None:
    return estimate_interval(collect_scores(grid, task, method, average))


@cache_in_grid
def collect_averages(grid: Grid, method: str, cover: Coverage) -> Mapping[Seeds, float]:
    per_task = [collect_scores(grid, task, method, cover.average) for task in cover.tasks]
    return mean_by_seed(per_task)


@cache_in_grid
def estimate_average(grid: Grid, method: str, cover: Coverage) -> Estimate | None:
    return estimate_interval(collect_averages(grid, method, cover))


# ---------------------------------------------------------------- paired differences


@cache_in_grid
def find_pairs(grid: Grid, task: str, method: str, first: str, average: str) -> Mapping[Seeds, tuple[Record, Record]]:
    """Seeds -> records of method and first with a score, where seeds, data, scored rows, model and protocol agree."""
    a, b = _index_scored(grid, task, method, average), _index_scored(grid, task, first, average)
    return {get_seeds(record): (record, b[key]) for key, record in a.items() if key in b}


@cache_in_grid
def _index_scored(grid: Grid, task: str, method: str, average: str) -> Mapping[Hashable, Record]:
    """Seeds and pairing key -> record, of those with a score: others would make a pair without a difference."""
    scores = collect_scores_by_key(grid, task, method, average)
    return {(get_seeds(r), *_get_pairing_key(r)): r for r in grid.of(task, method) if r.key in scores}


def _get_pairing_key(r: Record) -> tuple[Hashable, ...]:
    """What a pair must share: other rows, another model or protocol are another question."""
    return r.cell.data, r.cell.protocol.eval_rows, r.cell.model.content, r.cell.protocol.name, r.cell.suite_version


@cache_in_grid
def compute_differences(grid: Grid, task: str, method: str, first: str, average: str) -> Mapping[Seeds, float]:
    """Seeds -> score of method less score of first."""
    record_pairs = find_pairs(grid, task, method, first, average)
    of_method, of_first = (collect_scores_by_key(grid, task, name, average) for name in (method, first))
    return {seeds: of_method[a.key] - of_first[b.key] for seeds, (a, b) in record_pairs.items()}


# ---------------------------------------------------------------- what the headline is


@cache_in_grid
def task_headline(grid: Grid, task: str, average: str) -> tuple[str, ...]:
    """The metrics of a task whose mean is its headline score (see `find_headline_metrics`)."""
    return find_headline_metrics(grid.select_task(task), average)


def find_headline_metrics(records: Sequence[Record], average: str) -> tuple[str, ...]:
    """The metrics of one task whose mean is its headline score, as its records store them.

    The first metric when the task is outside of the average. () where records disagree, or where those of earlier
    versions, which store no names, have a score that is the mean of no few of their metrics.
    """
    scored = [record for record in records if get_score(record, average) is not None]
    infos = [info for record in scored if (info := record.averages.get(average)) and info.score is not None]
    if not infos:
        return tuple(next((list(record.scores)[:1] for record in scored), ()))
    # earlier versions did not store which metrics make up the average
    if any(info.metrics is None for info in infos):
        return _search_headline_metrics(scored, average)
    stored = dict.fromkeys(tuple(info.metrics or ()) for info in infos)
    return next(iter(stored)) if len(stored) == 1 else ()


def read_headline_scores(records: Sequence[Record]) -> dict[str, tuple[str, float]]:
    """Record key -> the names of its headline metrics as tables of scores write them, and its headline score."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.cell.suite, record.cell.task, next(iter(record.averages), "")), []).append(record)
    scores: dict[str, tuple[str, float]] = {}
    for (_, _, average), group in groups.items():
        name = " + ".join(find_headline_metrics(group, average)) or "score"
        values = {record.key: get_score(record, average) for record in group}
        scores |= {key: (name, value) for key, value in values.items() if value is not None}
    return scores


def _search_headline_metrics(scored: Sequence[Record], average: str) -> tuple[str, ...]:
    """For records of earlier versions: the fewest metrics whose mean is the score in every record; () if none are."""
    names = list(dict.fromkeys(name for record in scored for name in record.scores))
    # the fewest: of metrics that are equal in all records, a larger mean fits too
    for size in range(1, 1 + min(len(names), MAX_HEADLINE_METRICS)):
        for subset in itertools.combinations(names, size):
            if all(_is_mean(record, subset, get_score(record, average) or 0.0) for record in scored):
                return subset
    return ()


def _is_mean(record: Record, metrics: Sequence[str], value: float) -> bool:
    if not all(name in record.scores for name in metrics):
        return False
    mean = math.fsum([record.scores[name] for name in metrics]) / len(metrics)
    # sums of the same numbers in another order differ in their last digits
    return abs(mean - value) < 1e-6
