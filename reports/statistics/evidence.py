"""Per-example evidence of a task, made once for all comparisons: what each example adds to each cell's headline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.metric import METRICS
from reports.compare import task_headline
from reports.frames import Grid, get_score
from reports.statistics.examples import Examples, NoExamples, find_constant_keys, is_constant, load_examples


@dataclass(frozen=True)
class Evidence:
    """`influences` [units, cells] in points, columns as in `examples.rows`.

    A unit is an example or a cluster of them. The variance of a linear combination of cells over new examples is the
    sum of squares of the same combination of columns (infinitesimal jackknife, with G / (G - 1) for G units).
    """

    examples: Examples
    influences: Any

    def columns(self, keys: Sequence[str]) -> Any:
        """[units, len(keys)]."""
        return self.influences[:, [self.examples.rows[key] for key in keys]]


def collect_evidence(grid: Grid, average: str, cells: Path | None) -> Mapping[str, Evidence | str]:
    """Task -> its evidence, or the reason why there is none."""
    return {task: _load_evidence(grid, task, average, cells) for task in grid.tasks}


def find_constant_runs(grid: Grid, found: Mapping[str, Evidence | str], cells: Path | None) -> dict[str, set[str]]:
    """Task -> keys of the runs that predict the same for every example, as far as predictions were kept."""
    return {task: _find_constant_keys(grid, task, one, cells) for task, one in found.items()}


def _find_constant_keys(grid: Grid, task: str, found: Evidence | str, cells: Path | None) -> set[str]:
    if isinstance(found, str):
        return find_constant_keys(grid.select_task(task), cells)
    constant = set()
    for key, row in found.examples.rows.items():
        if all(is_constant(split.predictions[row], split.targets) for split in found.examples.splits):
            constant.add(key)
    return constant


def _load_evidence(grid: Grid, task: str, average: str, cells: Path | None) -> Evidence | str:
    if cells is None:
        return "no folder of predictions was given"
    records = grid.select_task(task)
    scores = {r.key: value for r in records if (value := get_score(r, average)) is not None}
    try:
        examples = load_examples(records, task_headline(grid, task, average), scores, cells)
    except NoExamples as reason:
        return str(reason)
    return Evidence(examples, sum_influences(examples))


def sum_influences(examples: Examples) -> Any:
    """What each unit adds to each cell's headline [units, cells]; the splits, each drawn for itself, one below another.

    All zero for a split of one unit, which says nothing of new ones.
    """
    import numpy as np

    metrics = sum(len(split.metrics) for split in examples.splits)
    parts = []
    for split in examples.splits:
        split_metrics = [METRICS.get(name)() for name in split.metrics]
        per_example = sum(each.compute_influence(split.predictions, split.targets) for each in split_metrics)
        units = split.groups
        sums = np.zeros((units, per_example.shape[1]))
        # examples of one cluster are not independent: they are one unit
        np.add.at(sums, split.clusters, per_example)
        # n / (n - 1) for the variance; influences are squared later, hence the root
        parts.append(sums * (math.sqrt(units / (units - 1)) if units > 1 else 0.0) / metrics)
    return np.concatenate(parts)
