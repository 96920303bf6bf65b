"""Per-example evidence of a task, made once for all comparisons: what each example adds to each cell's headline."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.metric import METRICS
from harness.core.record import Record
from reports.compare import task_headline
from reports.frames import Grid, get_score
from reports.statistics.examples import Examples, NoExamples, find_constant_keys, is_constant, load_examples


@dataclass(frozen=True)
class Evidence:
    """`influences` [units, cells] in points, columns as in `examples.rows`: the cells whose predictions were kept.

    A unit is an example or a cluster of them. The variance of a linear combination of cells over new examples is the
    sum of squares of the same combination of columns (infinitesimal jackknife, with G / (G - 1) for G units).
    """

    examples: Examples
    influences: Any

    def has(self, records: Iterable[Record]) -> bool:
        """Whether the predictions of all of these cells were kept."""
        return all(record.key in self.examples.rows for record in records)

    def columns(self, keys: Sequence[str]) -> Any:
        """[units, len(keys)]."""
        return self._by_cell[[self.examples.rows[key] for key in keys]].T

    @functools.cached_property
    def _by_cell(self) -> Any:
        """`influences` [cells, units], where those of a cell lie side by side: thousands of comparisons read them."""
        import numpy as np

        return np.ascontiguousarray(self.influences.T)


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
    """What each unit adds to each cell's headline [units, cells].

    Translations of an example are one unit; other splits are drawn each for itself, so their units stand one below
    another. All zero for a split of one unit, which says nothing of new ones.
    """
    import numpy as np

    metrics = sum(len(split.metrics) for split in examples.splits)
    # codes may start above 0 and leave out splits without a metric
    units = np.unique(np.concatenate([split.units for split in examples.splits]), return_inverse=True)[1]
    ends = np.cumsum([len(split.units) for split in examples.splits])[:-1]
    sums = np.zeros((int(units.max()) + 1, len(examples.rows)))
    for split, codes in zip(examples.splits, np.split(units, ends), strict=True):
        split_metrics = [METRICS.get(name)() for name in split.metrics]
        per_example = sum(each.compute_influence(split.predictions, split.targets) for each in split_metrics)
        # the units of a split, or of all parallel ones
        count = len(np.unique(codes))
        # n / (n - 1) for the variance; influences are squared later, hence the root
        scale = math.sqrt(count / (count - 1)) if count > 1 else 0.0
        # examples of one unit are not independent, so they add up to one number
        np.add.at(sums, codes, per_example * (scale / metrics))
    return sums
