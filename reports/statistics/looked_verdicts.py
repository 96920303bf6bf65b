"""Verdicts of primary comparisons with an automatic number of seeds, and why the run added no more of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from harness.core.looks import Decision, Look, LookedComparison, parse_looks
from harness.core.text import count_noun
from reports.statistics.collapse_guard import describe_guard
from reports.statistics.comparisons import Comparison
from reports.statistics.families import Question
from reports.statistics.testing import Tests
from reports.statistics.verdicts import LATE_MARGIN, LATE_PRIMARY, NOT_SIGNIFICANT, Verdict, build_failed_verdict

LATE_LOOKS = "Post hoc: the automatic number of seeds was declared after there were results."
THESE_EXAMPLES = "The claim is for new seeds on these examples."
STABLE = "The interval is for seeds without a collapsed run."
ALL_RUNS = "The claim includes collapsed runs; the interval does not."
BOTH_TESTS = "Student's t and Hall's test, which allows for skewness, agree."
DECIDED = "decided"


def find_looked(c: Comparison, looks: Sequence[Look]) -> LookedComparison | None:
    """What the looks have shown of a comparison; None before the first look, and of a pair that was not primary."""
    if not looks:
        return None
    same_pair = [
        one for one in looks[-1].comparisons if (one.suite, one.method, one.first) == (c.suite, c.method, c.first)
    ]
    # a pair has one entry, that of the mean, or one per task where the suite has no average
    return same_pair[0] if len(same_pair) == 1 else next((o for o in same_pair if tuple(o.tasks) == c.tasks), None)


def replace_tests(tests: Tests, looked: LookedComparison | None) -> Tests:
    """The tests with the p of the looks. Those of a fixed number of seeds would not be valid.

    The number of seeds depends on what the looks have shown.
    """
    p, equivalence_p = (looked.p, looked.equivalence_p) if looked else (None, None)
    return dataclasses.replace(tests, p=None, adjusted_p=p, equivalence_p=equivalence_p, non_inferiority_p=None)


def build_looked_verdict(
    c: Comparison, looked: LookedComparison | None, question: Question, margin: float | None, late: bool
) -> Verdict:
    """The verdict of one primary comparison. `late`: the margin was named after results."""
    place = f"the {c.place}" if c.whole else c.place
    if looked is None:
        sentence = f"No verdict on {c.method} against {c.first} on {place}: no look has judged it yet."
        return Verdict("undecided", sentence, (describe_stop(question),))
    if looked.decision == "failed":
        return build_failed_verdict(c, (describe_stop(question),))
    notes = _list_notes(c, looked, question, late)
    return Verdict(looked.decision, _format_claim(looked, place, margin), tuple(filter(None, notes)))


def _format_claim(looked: LookedComparison, place: str, margin: float | None) -> str:
    claims: Mapping[Decision, str] = {
        "better": f"{looked.method} is better than {looked.first} on {place}",
        "worse": f"{looked.method} is worse than {looked.first} on {place}",
        "equivalent": f"{looked.method} is equivalent to {looked.first} within {margin or 0.0:g} points on {place}",
        "undecided": f"{looked.method} shows {NOT_SIGNIFICANT} to {looked.first} on {place}",
    }
    claim = claims[looked.decision]
    interval = ""
    if looked.low is not None:
        interval = f"{100 * looked.level:.0f} % sequential interval {looked.low:+.1f} to {looked.high:+.1f}"
    collapsed = looked.collapsed + looked.collapsed_first
    if looked.difference is None:
        return f"{claim}."
    if not collapsed:
        # rare collapses go unseen, and would move the mean over all runs by more than a margin
        shown = f" ({interval})" if interval else ""
        return f"{claim}: {looked.difference:+.1f} points{shown}, for runs that do not collapse."
    stable = ""
    if looked.difference_of_stable is not None:
        stable = f"; without collapsed runs {looked.difference_of_stable:+.1f}{f' ({interval})' if interval else ''}"
    return f"{claim}: {looked.difference:+.1f} points, collapsed runs included{stable}."


def _list_notes(c: Comparison, looked: LookedComparison, question: Question, late: bool) -> Iterator[str]:
    yield _describe_decision(looked, question)
    yield THESE_EXAMPLES
    if question.primary_late:
        yield LATE_PRIMARY
    if question.auto_late:
        yield LATE_LOOKS
    if looked.collapsed + looked.collapsed_first:
        yield ALL_RUNS if looked.decision in ("better", "worse") else STABLE
    yield describe_guard(c, looked.decision) or c.collapsed
    if looked.decision in ("better", "worse", "equivalent"):
        yield BOTH_TESTS
    if looked.why:
        yield f"{looked.why[0].upper()}{looked.why[1:]}."
    if late and looked.decision == "equivalent":
        yield LATE_MARGIN


def _describe_decision(looked: LookedComparison, question: Question) -> str:
    most = _get_most(question)
    if looked.decision != "undecided":
        return f"Decided at {looked.seeds} of at most {most} seeds."
    return f"Undecided at {looked.seeds} of at most {most} seeds."


def describe_stop(question: Question) -> str:
    """Why the run added no more seeds: 'Stopped at 20 of 100 seeds: decided.'"""
    most = _get_most(question)
    late = f" {LATE_LOOKS}" if question.auto_late else ""
    if not question.looks:
        why = f" ({question.stopped})" if question.stopped else ""
        return f"The run ended{why} before its first look: nothing is decided.{late}"
    last = question.looks[-1]
    at = f"{last.seeds} of {most} seeds"
    open_count = sum(one.is_open for one in last.comparisons)
    undecided = f"{open_count} of {count_noun(len(last.comparisons), 'comparison')} undecided"
    if question.stopped == DECIDED:
        failed = sum(one.decision == "failed" for one in last.comparisons)
        return f"Stopped at {at}: {f'{failed} failed, the others decided' if failed else DECIDED}.{late}"
    if last.seeds == most:
        return f"Stopped at {at}, the maximum: {undecided}.{late}"
    if question.stopped:
        return f"Budget spent ({question.stopped}) after the look at {at}: {undecided}.{late}"
    return f"Interrupted after the look at {at}: {undecided}; the same command continues.{late}"


def _get_most(question: Question) -> int:
    looks = parse_looks(question.auto or "")
    return looks.most if looks else 0
