"""The one sentence that answers the declared question, and what a reader must know beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reports.compare import NOT_RUN, Coverage
from reports.statistics.best_group import BestGroup
from reports.statistics.families import Question
from reports.statistics.stability import Domination, describe_dominations
from reports.statistics.verdicts import NOT_SIGNIFICANT, Kind

if TYPE_CHECKING:
    from reports.statistics.analysis import ComparisonResult
    from reports.statistics.ranking import RankingRow

MAX_CLAIMS = 2
"""Primary comparisons that the answer gives with their numbers; of more it counts the verdicts."""
MAX_NAMES = 3
"""Methods that a sentence names for one verdict; of more it gives their number."""
MAX_CAVEATS = 2
ONE_SEED = "One seed has no spread, so there is no verdict."


def build_answer(judged: Sequence[ComparisonResult], rows: Sequence[RankingRow], margin: float | None) -> str:
    """What the primary comparisons of a suite show, as one sentence; `judged` are all of its comparisons."""
    if not any(row.mean or any(row.task_means.values()) for row in rows):
        return "No run has a score."
    primary = select_primary(judged)
    if not primary and len(rows) == 1:
        return f"Only {rows[0].method} was run, so there is nothing to compare."
    if not primary:
        return "No primary comparison is declared for this suite."
    # the numbers of many comparisons would not fit into one sentence
    if len(primary) <= MAX_CLAIMS:
        claims = "; ".join(one.verdict.sentence.removesuffix(".") for one in primary)
        return f"{claims.replace('; No verdict', '; no verdict')}."
    return f"Compared with {'; with '.join(_count_verdicts(primary, margin))}."


def select_primary(judged: Sequence[ComparisonResult]) -> list[ComparisonResult]:
    """The primary comparisons, each once: of a mean over one task and that task the mean."""
    primary = [j for j in judged if j.tests.role == "primary"]
    # a mean over one task and that task are the same comparison
    whole = {(j.comparison.method, j.comparison.first) for j in primary if j.comparison.whole}
    return [j for j in primary if j.comparison.whole or (j.comparison.method, j.comparison.first) not in whole]


def _count_verdicts(primary: Sequence[ComparisonResult], margin: float | None) -> list[str]:
    """One part per baseline and place: which methods are better, worse, and so on."""
    groups: dict[tuple[str, str], list[ComparisonResult]] = {}
    for one in primary:
        place = f"the {one.comparison.place}" if one.comparison.whole else one.comparison.place
        groups.setdefault((one.comparison.first, place), []).append(one)
    phrases: Mapping[Kind, str] = {
        "better": "better",
        "worse": "worse",
        "equivalent": f"equivalent within {margin or 0.0:g} points",
        "non-inferior": f"not worse by {margin or 0.0:g} points",
        "undecided": NOT_SIGNIFICANT,
    }
    parts = []
    for (first, place), group in groups.items():
        counts = []
        for kind, phrase in phrases.items():
            if methods := [j.comparison.method for j in group if j.verdict.kind == kind]:
                counts.append(f"{phrase}: {list_names(methods)}")
        silent = [j.comparison.method for j in group if j.verdict.kind not in phrases]
        counts += [f"no verdict: {list_names(silent)}"] if silent else []
        parts.append(f"{first} on {place}, {', '.join(counts)}")
    return parts


def list_names(methods: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c', or how many there are."""
    if len(methods) > MAX_NAMES:
        return f"{len(methods)} methods"
    return " and ".join(filter(None, [", ".join(methods[:-1]), methods[-1]]))


def describe_best_group(group: BestGroup | None, methods: Sequence[str]) -> str:
    """Which methods are tied with the best one, as a sentence; '' of fewer than two methods."""
    if group is None or len(methods) < 2:
        return ""
    tied = [method for method in methods if method in group.members and method != group.best]
    if not tied:
        return f"{group.best} has the highest mean, and all others are shown to be worse."
    return f"{group.best} has the highest mean; not shown to be worse: {list_names(tied)}."


def list_caveats(
    judged: Sequence[ComparisonResult],
    cover: Coverage,
    question: Question,
    dominations: Sequence[Domination],
) -> list[str]:
    """The most important things that the numbers do not say, two short sentences at most."""
    caveats = []
    failed = {cell for j in judged for cell in j.comparison.failed}
    if failed:
        count = "1 cell has" if len(failed) == 1 else f"{len(failed)} cells have"
        caveats.append(f"{count} no score.")
    if question.primary_late:
        caveats.append("Post hoc: the primary comparisons were declared after there were results.")
    if question.collapse_margin_late:
        caveats.append("Post hoc: the margin of collapses was changed after there were results.")
    caveats += describe_dominations(dominations)
    if any(j.verdict.kind == "one seed" for j in judged):
        caveats.append(ONE_SEED)
    # a task that was not run was not asked for; one without scores is news
    left_out = [task for task, why in cover.missing.items() if why != NOT_RUN]
    if left_out:
        caveats.append(f"The mean leaves out {', '.join(left_out)}, where a method has no score.")
    return caveats[:MAX_CAVEATS]
