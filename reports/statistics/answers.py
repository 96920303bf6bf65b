"""The one sentence that answers the declared question, and what a reader must know beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.core.record import Record
from harness.core.truncation import MAX_SHARE, choose_flag, compute_truncated_shares, describe_shares
from reports.compare import NOT_RUN, Coverage
from reports.statistics.best_group import BestGroup
from reports.statistics.collapse import list_first
from reports.statistics.families import Question
from reports.statistics.looked_verdicts import describe_stop
from reports.statistics.stability import Domination, describe_dominations
from reports.statistics.verdicts import NOT_SIGNIFICANT, Kind, is_lost_to_correction

if TYPE_CHECKING:
    from reports.statistics.analysis import ComparisonResult
    from reports.statistics.ranking import RankingRow

MAX_CLAIMS = 2
"""Primary comparisons that the answer gives with their numbers; of more it counts the verdicts."""
MAX_NAMES = 3
"""Methods that a sentence names for one verdict; of more it gives their number."""
MAX_CAVEATS = 2
PAIRED_ONLY = "Differences are over the seeds that both methods have, so they may differ from those of the means."
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
    return " ".join(f"Compared with {claims}." for claims in _count_verdicts(primary, margin))


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
    within = f"{margin or 0.0:g} point{'' if margin == 1 else 's'}"
    phrases: Mapping[Kind, tuple[str, str]] = {
        "better": ("is better", "are better"),
        "worse": ("is worse", "are worse"),
        "equivalent": (f"is equivalent within {within}", f"are equivalent within {within}"),
        "equivalent without collapses": (
            f"is equivalent within {within} where no run collapses",
            f"are equivalent within {within} where no run collapses",
        ),
        "non-inferior": (f"is not worse by {within}", f"are not worse by {within}"),
        "non-inferior without collapses": (
            f"is not worse by {within} where no run collapses",
            f"are not worse by {within} where no run collapses",
        ),
        "undecided": (f"shows {NOT_SIGNIFICANT}", f"show {NOT_SIGNIFICANT}"),
    }
    no_verdict = "has no verdict", "have no verdict"
    parts = []
    for (first, place), group in groups.items():
        methods: dict[tuple[str, str], list[str]] = {phrase: [] for phrase in (*phrases.values(), no_verdict)}
        for one in group:
            methods[phrases.get(one.verdict.kind, no_verdict)].append(one.comparison.method)
        claims = []
        for (singular, plural), names in methods.items():
            if names:
                claims.append(f"{list_names(names)} {singular if len(names) == 1 else plural}")
        parts.append(f"{first} on {place}: {'; '.join(claims)}")
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
    truncation: str = "",
) -> list[str]:
    """The most important things that the numbers do not say, two short sentences at most.

    `truncation`: the result of `describe_truncations`.
    """
    caveats = [describe_stop(question)] if question.auto else []
    failed = {cell for j in judged for cell in j.comparison.failed}
    if failed:
        count = "1 cell has" if len(failed) == 1 else f"{len(failed)} cells have"
        caveats.append(f"{count} no score.")
    # before what concerns the reading of the numbers: on truncated texts they are of another task
    caveats += [truncation] if truncation else []
    if question.primary_late:
        caveats.append("Post hoc: the primary comparisons were declared after there were results.")
    if question.collapse_margin_late:
        caveats.append("Post hoc: the margin of collapses was changed after there were results.")
    caveats += describe_dominations(dominations)
    if any(j.verdict.kind == "one seed" for j in judged):
        caveats.append(ONE_SEED)
    caveats += _explain_estimates(select_primary(judged))
    # a task that was not run was not asked for; one without scores is news
    left_out = [task for task, why in cover.missing.items() if why != NOT_RUN]
    if left_out:
        caveats.append(f"The mean leaves out {', '.join(left_out)}, where a method has no score.")
    return caveats[:MAX_CAVEATS]


def describe_truncations(records: Iterable[Record]) -> str:
    """The tasks of which many rows are truncated, as one sentence; '' where there are none."""
    tasks: dict[str, Record] = {}
    for record in records:
        place = record.cell.task
        if record.truncation and _get_truncated(record) > (
            _get_truncated(tasks[place]) if place in tasks else MAX_SHARE
        ):
            tasks[place] = record
    if not tasks:
        return ""
    parts = [f"{task} ({describe_shares(r)} at {r.cell.protocol.max_length} tokens)" for task, r in tasks.items()]
    flags = list(dict.fromkeys(map(choose_flag, tasks.values())))
    return f"Rows are truncated on {list_first(parts)}; {flags[-1]}."


def _get_truncated(record: Record) -> float:
    """The larger share of truncated rows, of the train rows and of the eval rows."""
    return max(compute_truncated_shares(record.truncation).values()) if record.truncation else 0.0


def _explain_estimates(primary: Sequence[ComparisonResult]) -> list[str]:
    """Why a difference is not that of the two means, and why an interval without 0 is no significant difference."""
    estimated = [j for j in primary if j.comparison.estimate is not None and not j.comparison.failed]
    caveats = []
    if any(j.comparison.pairs < j.comparison.asked for j in estimated):
        caveats.append(PAIRED_ONLY)
    corrected = [j.tests for j in estimated if is_lost_to_correction(j.tests)]
    if corrected:
        count = "1 interval excludes" if len(corrected) == 1 else f"{len(corrected)} intervals exclude"
        after = f"{corrected[0].correction} correction over {corrected[0].family} comparisons"
        caveats.append(f"{count} 0, which is no significant difference after {after}.")
    return caveats
