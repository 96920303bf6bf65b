"""What the statistics say, as sentences and tables for the top of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.record import Profile, Record
from reports.document import Findings
from reports.frames import grids
from reports.statistics.analysis import Analysis, Judged
from reports.statistics.signatures import Signature, signatures

if TYPE_CHECKING:
    import pandas as pd

    from reports.statistics.student import Student

MOST = 8
"""Sentences of comparisons at the top; the table below them has all."""
TESTS = "p is corrected for all comparisons of the report (Holm); what an interval holds for stands beside it"


def findings(analysis: Analysis) -> Findings:
    """The verdicts on means over tasks first (on tasks, where there is no mean), then the checks of failures."""
    over_tasks = [j for j in analysis.judged if len(j.comparison.tasks) > 1]
    told = over_tasks or _distinct(analysis)
    sentences = [j.verdict.sentence for j in told[:MOST]]
    if len(told) > MOST:
        sentences.append(f"{len(told) - MOST} more verdicts stand in the table of comparisons.")
    return Findings(sentences, [*_comparisons(analysis), *_components(analysis), *_checks(analysis.signatures)])


def checks_alone(records: Sequence[Record], profiles: Sequence[Profile]) -> Findings:
    """The checks of failures of records that are not to be compared with each other."""
    return Findings([], _checks({grid.suite: signatures(grid, [], profiles, {}) for grid in grids(records)}))


def _distinct(analysis: Analysis) -> list[Judged]:
    """Less the means over one task, which say what the task says."""
    return [j for j in analysis.judged if len(j.comparison.tasks) > 1 or not j.comparison.whole]


Extra = tuple[str, "pd.DataFrame", Sequence[str]]


def _comparisons(analysis: Analysis) -> list[Extra]:
    import pandas as pd

    if not analysis.judged:
        return []
    margin = "no margin was named" if analysis.margin is None else f"the margin is {analysis.margin:g} points"
    frame = pd.DataFrame([_row(j) for j in _distinct(analysis)])
    return [("Comparisons, paired by seed", frame, [TESTS, f"For equivalence {margin}."])]


def _row(judged: Judged) -> dict[str, Any]:
    found, tests = judged.comparison, judged.tests
    return {
        "suite": found.suite,
        "on": found.place,
        "method": found.method,
        "against": found.first,
        "difference": _points(found.difference),
        "95 % interval": ""
        if found.estimate is None
        else f"{_points(found.estimate.low)} to {_points(found.estimate.high)}",
        "holds for": found.target if found.estimate is not None else found.why,
        "p": "" if tests.holm is None else f"{tests.holm:.3f}" if tests.holm >= 0.001 else "< 0.001",
        "verdict": judged.verdict.kind,
        "would be found": "" if tests.detectable is None else f"{tests.detectable:.1f} points",
    }


def _points(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def _interval(estimate: Student | None) -> str:
    return "" if estimate is None else f"{_points(estimate.low)} to {_points(estimate.high)}"


def _components(analysis: Analysis) -> list[Extra]:
    """Where the spread over seeds comes from, where streams were varied apart."""
    if analysis.components.empty:
        return []
    note = "standard deviation in points by seed stream; rest: what no stream explains, run to run included"
    return [("Where the spread comes from", analysis.components.round(3), [note])]


def _checks(signatures: Mapping[str, Sequence[Signature]]) -> list[Extra]:
    import pandas as pd

    said = {True: "seen", False: "not seen", None: "not decided"}
    rows = [
        {"suite": suite, "failure": s.name, "": said[s.seen], "evidence": s.sentence}
        for suite, found in signatures.items()
        for s in found
    ]
    note = "the failures that arXiv 2403.08822 would show itself by, looked for in these runs"
    return [("Signs of failure", pd.DataFrame(rows), [note])] if rows else []
