"""Per-example evidence of a task, made once for all comparisons: each cell's headline on resampled examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.compare import headline
from reports.frames import Grid, score
from reports.statistics.bootstrap import generator
from reports.statistics.crossed import resampled
from reports.statistics.examples import Examples, NoExamples, load


@dataclass(frozen=True)
class Evidence:
    """`draws` [draws, cells] in points, columns as in `examples.rows`."""

    examples: Examples
    draws: Any


def evidence(grid: Grid, average: str, cells: Path | None, seed: int) -> Mapping[str, Evidence | str]:
    """Task -> its evidence, or the reason why there is none."""
    return {task: _of_task(grid, task, average, cells, seed) for task in grid.tasks}


def _of_task(grid: Grid, task: str, average: str, cells: Path | None, seed: int) -> Evidence | str:
    if cells is None:
        return "no folder of predictions was given"
    records = grid.of_task(task)
    scores = {r.key: value for r in records if (value := score(r, average)) is not None}
    try:
        examples = load(records, headline(records, average), scores, cells)
    except NoExamples as reason:
        return str(reason)
    return Evidence(examples, resampled(examples, generator(seed, "examples", grid.suite, task)))
