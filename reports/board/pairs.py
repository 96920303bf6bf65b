"""Which runs the board compares with each other, and the comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.board.runs import BoardRun
from reports.changes import RunComparison, collect_facts, compare_runs

PREVIOUS = 3
"""Earlier runs that a run is compared with: all pairs of 200 runs would be 19,900 pages."""


@dataclass(frozen=True)
class RunPair:
    """Two runs, the older one first, and what changed between them."""

    a: BoardRun
    b: BoardRun
    comparison: RunComparison


def list_pairs(runs: Sequence[BoardRun]) -> list[RunPair]:
    """Each run with the latest earlier runs that have cells of the same tasks, methods and seeds.

    Runs that share more cells come before those that share fewer.
    """
    ordered = sorted(runs, key=lambda run: run.date)
    cells = [frozenset(_list_cells(run)) for run in ordered]
    facts = [collect_facts(run.records) for run in ordered]
    pairs = []
    for i, run in enumerate(ordered):
        shared = [(len(cells[i] & cells[j]), j) for j in range(i)]
        # the larger share first, then the later run
        partners = sorted((item for item in shared if item[0]), reverse=True)[:PREVIOUS]
        for _, j in partners:
            comparison = compare_runs(ordered[j].records, run.records, (facts[j], facts[i]))
            pairs.append(RunPair(ordered[j], run, comparison))
    return [pair for pair in pairs if pair.comparison.has_pairs]


def _list_cells(run: BoardRun) -> list[tuple[object, ...]]:
    cells = (record.cell for record in run.records)
    return [(cell.suite, cell.task, cell.label, cell.sorted_seeds) for cell in cells]
