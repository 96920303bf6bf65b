"""Records to estimates, tests and verdicts: the one entry point of the statistics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.looks import LookedComparison
from harness.core.profile import Profile
from harness.core.record import Record
from reports.document import Rows
from reports.frames import Grid, build_grids
from reports.statistics import score_frames as frames
from reports.statistics.best_group import BestGroup
from reports.statistics.collapse import TaskCollapses
from reports.statistics.comparisons import Comparison
from reports.statistics.families import DEFAULT_QUESTION, Pair, Question, resolve_primary
from reports.statistics.language_gaps import build_language_rows
from reports.statistics.looked_verdicts import build_looked_verdict, find_looked, replace_tests
from reports.statistics.opponents import find_baseline
from reports.statistics.ranking import Ranking, build_rankings
from reports.statistics.savings import Saving, compute_saving
from reports.statistics.seed_pairs import PAIR_COLUMNS
from reports.statistics.signatures import FailureCheck, check_failure_modes
from reports.statistics.stability import STABILITY_COLUMNS, Domination
from reports.statistics.suite_analysis import analyse_suite
from reports.statistics.testing import Tests, compute_tests
from reports.statistics.translation import TRANSLATION_COLUMNS
from reports.statistics.verdicts import Verdict, build_verdict

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ComparisonResult:
    """One comparison with its tests, what the method saves, and the verdict in words."""

    comparison: Comparison
    tests: Tests
    saving: Saving
    verdict: Verdict
    looked: LookedComparison | None = None
    """Of a primary comparison with an automatic number of seeds: what the look shows that decided it, or the last."""


@dataclass(frozen=True)
class Analysis:
    """All that a report may say of its numbers. Points, 0 to 100; intervals are 95 %; None and NaN: no such figure.

    `judged`: each method against the first, and lorasp against lora and full, per task and on the mean over tasks.
    `rows` holds the rows of the frames below by name. `signatures`: suite -> checks of the paper's failures. `margin`
    in points. `seed`: of the bands of the performance profiles, the only thing that is resampled beside sacrebleu's
    tests. `collapses`: suite -> task -> its collapsed runs. `primary`: suite -> its primary pairs. `best`: suite -> the
    methods tied with the best. `dominations`: suite -> differences of means whose variance comes from collapsed runs.
    `rankings`: what a reader sees first, one per suite.
    """

    judged: tuple[ComparisonResult, ...]
    rows: Mapping[str, Rows]
    signatures: Mapping[str, tuple[FailureCheck, ...]]
    margin: float | None
    seed: int
    grids: Sequence[Grid] = dataclasses.field(compare=False, repr=False)
    collapses: Mapping[str, Mapping[str, TaskCollapses]] = dataclasses.field(default_factory=dict)
    primary: Mapping[str, Sequence[Pair]] = dataclasses.field(default_factory=dict)
    best: Mapping[str, BestGroup | None] = dataclasses.field(default_factory=dict)
    dominations: Mapping[str, Sequence[Domination]] = dataclasses.field(default_factory=dict)
    question: Question = DEFAULT_QUESTION
    rankings: tuple[Ranking, ...] = ()

    @property
    def baselines(self) -> Mapping[str, str]:
        """Suite -> the method that the others are compared with."""
        return {grid.suite: find_baseline(grid, self.primary.get(grid.suite, ())) for grid in self.grids}

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """suite, average, task (a task, or the label of an average), method, n and asked (cells with a score, cells
        run), score, low, high (new seeds); of accuracy also example_se (new examples, clustered by subject), examples,
        clusters.
        """
        return _build_frame(self.rows["scores"], frames.SCORE_COLUMNS)

    @functools.cached_property
    def aggregates(self) -> pd.DataFrame:
        """suite, method, tasks, runs, measure, value, low, high."""
        return _build_frame(self.rows["aggregates"], frames.AGGREGATE_COLUMNS)

    @functools.cached_property
    def components(self) -> pd.DataFrame:
        """suite, task, method, stream, levels, sd, share, p."""
        return _build_frame(self.rows["components"], frames.COMPONENT_COLUMNS)

    @functools.cached_property
    def pairs(self) -> pd.DataFrame:
        """One row per seed pair and split (see seed_pairs)."""
        return _build_frame(self.rows["pairs"], PAIR_COLUMNS)

    @functools.cached_property
    def translations(self) -> pd.DataFrame:
        """One row per seed pair and metric of translation (see translation)."""
        return _build_frame(self.rows["translations"], TRANSLATION_COLUMNS)

    @functools.cached_property
    def stability(self) -> pd.DataFrame:
        """One row per task and method: collapsed runs with their rate (Wilson interval), the exact McNemar test against
        the baseline paired by seed, and the mean with and without collapsed runs.
        """
        return _build_frame(self.rows["stability"], STABILITY_COLUMNS)

    @functools.cached_property
    def profiles(self) -> pd.DataFrame:
        """suite, method, score, share, low, high."""
        import pandas as pd

        return pd.concat([frames.build_profile_frame(grid, self.seed) for grid in self.grids], ignore_index=True)


def analyse(
    records: Sequence[Record],
    profiles: Sequence[Profile],
    *,
    margin: float | None = None,
    seed: int = 0,
    cells: Path | None = None,
    late: bool = False,
    question: Question = DEFAULT_QUESTION,
) -> Analysis:
    """Everything from the records of a run; the same bits for the same arguments.

    `cells` is the folder of kept predictions (the run's cells/): with it, estimates hold for new examples too. `late`:
    the margin was named after there were results. `question`: what the run declared. Raises UserError where cells of
    one comparison differ in protocol, model, data or version of the suite, and for a declared method that is missing.
    """
    grids = build_grids(records)
    primary = resolve_primary(question.primary, grids)
    suites = [analyse_suite(grid, cells, primary[grid.suite], question.collapse_margin) for grid in grids]
    every = [c for suite in suites for c in suite.comparisons]
    # all suites at once: a family spans the report
    tests = compute_tests(every, margin, primary)
    by_suite = {suite.grid.suite: suite.grid for suite in suites}
    judged = tuple(
        _judge_comparison(by_suite[c.suite], c, t, profiles, margin, late, question)
        for c, t in zip(every, tests, strict=True)
    )
    parts = [frames.collect_components(suite.grid) for suite in suites]
    rows: dict[str, Rows] = {
        "scores": [r for s in suites for r in frames.build_score_rows(s.grid, s.evidence)],
        "aggregates": [r for g in grids for r in frames.build_aggregate_rows(g, find_baseline(g, primary[g.suite]))],
        "components": [r for s, p in zip(suites, parts, strict=True) for r in frames.build_component_rows(s.grid, p)],
        "pairs": [row for suite in suites for row in suite.pairs],
        "translations": [row for suite in suites for row in suite.translations],
        "stability": [row for suite in suites for row in suite.stability],
        "languages": [
            r
            for s in suites
            for r in build_language_rows(s.grid, s.evidence, find_baseline(s.grid, primary[s.grid.suite]))
        ],
    }
    signs = {
        s.grid.suite: check_failure_modes(s.grid, _select_suite(judged, s.grid.suite), profiles, p, s.collapses)
        for s, p in zip(suites, parts, strict=True)
    }
    collapses = {s.grid.suite: s.collapses for s in suites}
    best = {s.grid.suite: s.best for s in suites}
    dominations = {s.grid.suite: s.dominations for s in suites}
    analysis = Analysis(judged, rows, signs, margin, seed, grids, collapses, primary, best, dominations, question)
    # a ranking reads the finished analysis, so it comes last
    return dataclasses.replace(analysis, rankings=build_rankings(analysis, profiles))


def _select_suite(judged: Sequence[ComparisonResult], suite: str) -> list[tuple[Comparison, Verdict]]:
    return [(j.comparison, j.verdict) for j in judged if j.comparison.suite == suite]


def _build_frame(rows: Rows, columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns))


def _judge_comparison(
    grid: Grid,
    c: Comparison,
    tests: Tests,
    profiles: Sequence[Profile],
    margin: float | None,
    late: bool,
    question: Question,
) -> ComparisonResult:
    place = c.tasks[0] if c.tasks else ""
    saved = compute_saving(grid.of(place, c.method), grid.of(place, c.first), profiles)
    if question.auto is not None and tests.role == "primary":
        looked = find_looked(c, question.looks)
        verdict = build_looked_verdict(c, looked, question, margin, late)
        return ComparisonResult(c, replace_tests(tests, looked), saved, verdict, looked)
    return ComparisonResult(c, tests, saved, build_verdict(c, tests, margin, late, question.primary_late))
