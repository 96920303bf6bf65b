"""Records to estimates, tests and verdicts: the one entry point of the statistics."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cell import Cell
from harness.record import Profile, Record
from reports.compare import coverage
from reports.frames import Grid, grids
from reports.statistics import score_frames as frames
from reports.statistics.comparisons import Comparison, Paired, on_average, on_task, paired
from reports.statistics.evidence import Evidence, evidence
from reports.statistics.savings import Saving, saving, sentence
from reports.statistics.seed_pairs import frame as pair_frame
from reports.statistics.seed_pairs import rows as pair_rows
from reports.statistics.signatures import REFERENCES, SUBJECT, Signature, signatures
from reports.statistics.testing import Tests, corrected
from reports.statistics.verdicts import Verdict, verdict

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Judged:
    """One comparison with its tests, what the method saves, and the verdict in words."""

    comparison: Comparison
    tests: Tests
    saving: Saving
    verdict: Verdict


@dataclass(frozen=True)
class Analysis:
    """All that a report may say of its numbers. Points, 0 to 100; intervals are 95 %; None and NaN: no such figure.

    `judged`: each method against the first, and lorasp against lora and full, per task and on the mean over tasks.
    `scores`: suite, average, task (a task, or the label of an average), method, n and asked (cells with a score, cells
    run), score, low, high (new seeds), example_se and clusters (accuracy only: new examples, clustered by subject).
    `aggregates`: suite, method, tasks, runs, measure, value, low, high. `profiles`: suite, method, score, share, low,
    high. `components`: suite, task, method, stream, levels, sd, share, p. `pairs`: one row per seed pair and split (see
    seed_pairs). `signatures`: suite -> checks of the paper's failures. `margin` in points, `seed` of all resampling.
    """

    judged: tuple[Judged, ...]
    scores: pd.DataFrame
    aggregates: pd.DataFrame
    profiles: pd.DataFrame
    components: pd.DataFrame
    pairs: pd.DataFrame
    signatures: Mapping[str, tuple[Signature, ...]]
    margin: float | None
    seed: int


@dataclass(frozen=True)
class _Suite:
    grid: Grid
    found: Mapping[str, Evidence | str]
    comparisons: Sequence[Comparison]
    pairs: Sequence[dict[str, Any]]


def analyse(
    records: Sequence[Record],
    profiles: Sequence[Profile],
    *,
    margin: float | None = None,
    seed: int = 0,
    cells: Path | None = None,
    late: bool = False,
) -> Analysis:
    """Everything from the records of a run; the same bits for the same arguments.

    `cells` is the folder of kept predictions (the run's cells/): with it, estimates hold for new examples too. `late`:
    the margin was named after there were results. Raises UserError where cells of one comparison differ in protocol,
    model, data or version of the suite.
    """
    import pandas as pd

    suites = [_suite(grid, cells, seed) for grid in grids(records)]
    every = [c for suite in suites for c in suite.comparisons]
    tests = corrected(every, margin)
    by_suite = {suite.grid.suite: suite.grid for suite in suites}
    judged = tuple(_judged(by_suite[c.suite], c, t, profiles, margin, late) for c, t in zip(every, tests, strict=True))
    parts = [frames.component_parts(suite.grid) for suite in suites]
    return Analysis(
        judged=judged,
        scores=_frame([r for s in suites for r in frames.score_rows(s.grid, s.found)], frames.SCORE_COLUMNS),
        aggregates=_frame([r for s in suites for r in frames.aggregate_rows(s.grid, seed)], frames.AGGREGATE_COLUMNS),
        profiles=pd.concat([frames.profile_frame(s.grid, seed) for s in suites], ignore_index=True),
        components=_frame(
            [r for s, p in zip(suites, parts, strict=True) for r in frames.component_rows(s.grid, p)],
            frames.COMPONENT_COLUMNS,
        ),
        pairs=pair_frame([row for suite in suites for row in suite.pairs]),
        signatures={
            s.grid.suite: signatures(s.grid, _of_suite(judged, s.grid.suite), profiles, p)
            for s, p in zip(suites, parts, strict=True)
        },
        margin=margin,
        seed=seed,
    )


def _of_suite(judged: Sequence[Judged], suite: str) -> list[tuple[Comparison, Verdict]]:
    return [(j.comparison, j.verdict) for j in judged if j.comparison.suite == suite]


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns))


def opponents(grid: Grid) -> list[tuple[str, str]]:
    """(method, first): all against the first; lorasp against lora and full of the same precision and protocol too."""

    def of(name: str) -> Cell:
        return grid.of_method(name)[0].cell

    def alike(a: Cell, b: Cell) -> bool:
        return (a.dtype, a.quantize, a.protocol.name) == (b.dtype, b.quantize, b.protocol.name)

    found = [(method, grid.methods[0]) for method in grid.methods[1:]]
    for method, first in itertools.permutations(grid.methods, 2):
        known = (method, first) in found or (first, method) in found
        if (
            not known
            and of(method).method == SUBJECT
            and of(first).method in REFERENCES
            and alike(of(method), of(first))
        ):
            found.append((method, first))
    return found


def _suite(grid: Grid, cells: Path | None, seed: int) -> _Suite:
    average = grid.averages[0]
    cover = coverage(grid, average)
    found = evidence(grid, average, cells, seed)
    comparisons: list[Comparison] = []
    rows: list[dict[str, Any]] = []
    for method, first in opponents(grid):
        parts = {task: paired(grid, task, method, first, average, found[task]) for task in grid.tasks}
        comparisons += [on_task(grid, task, method, first, one, seed) for task, one in parts.items()]
        if len(grid.declared(average)) > 1:
            comparisons.append(on_average(grid, cover, method, first, [parts[t] for t in cover.tasks], seed))
        for task, one in parts.items():
            names = {"suite": grid.suite, "task": task, "method": method, "first": first}
            rows += [names | row for row in _pair_rows(one, found[task])]
    return _Suite(grid, found, comparisons, rows)


def _pair_rows(one: Paired, found: Evidence | str) -> Iterator[dict[str, Any]]:
    if isinstance(found, str) or one.on_examples is None:
        return
    for seeds, pair in one.cells.items():
        yield from pair_rows(pair, found.examples, one.gaps[seeds], one.on_examples[seeds])


def _judged(
    grid: Grid, c: Comparison, tests: Tests, profiles: Sequence[Profile], margin: float | None, late: bool
) -> Judged:
    place = c.tasks[0] if c.tasks else ""
    saved = saving(grid.of(place, c.method), grid.of(place, c.first), profiles)
    # Said once for two methods: with their mean over tasks, or with their only task.
    words = sentence(saved, c.method, c.first) if c.whole or len(grid.tasks) == 1 else ""
    return Judged(c, tests, saved, verdict(c, tests, margin, words, late))
