"""Why a frozen half scores otherwise than all entries: what share of the difference each explanation makes up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from reports.document import Extra
from reports.statistics.holm import apply_holm
from reports.statistics.student import Student
from studies.answer import Answer, Part, StudyRuns, merge_verdicts
from studies.rules import surface
from studies.rules.margins import format_interval, judge_kind
from studies.study import Kind, Study
from studies.surface.contrasts import ALPHA, TaskRuns, group_tasks
from studies.surface.explained import OUTCOMES, Explained, explain

HALF = 0.5
"""An explanation is the main one if it makes up more than this share of the difference."""
NOTES = (
    "explains: the mean difference of the two methods on the tasks, each at its own best rate, on seeds that took no"
    " part in choosing it. share: of the difference to be explained, on the same seeds, with Fieller's 95 % interval;"
    " none where that difference is not significant. Shares are of one factor each and need not add up to 100 %: a"
    " method may differ from another in several of them.",
    "without collapsed runs: seeds at which none of the methods collapsed. collapsed: the difference of the shares of"
    " collapsed runs, in percentage points; negative: fewer collapses.",
)


def judge(study: Study, seen: StudyRuns) -> Answer:
    """Options: those of rule surface, `explanations` (name, first, second: the methods whose difference shows it) and
    `rivals` (names of the explanations that the claim denies).

    Confirmed: the subject is better than the reference, and no rival makes up half of the difference. Contradicted: a
    rival makes up more than half, or the subject is significantly worse.
    """
    answer = surface.judge(study, seen)
    confirming = answer.runs[answer.runs["stage"] == "confirm"]
    tasks = group_tasks(confirming, study.options["collapse"])
    subject, reference = study.options["subject"], study.options["reference"]
    explanations = study.options["explanations"]
    found = {item["name"]: explain(tasks, (subject, reference), _get_methods(item)) for item in explanations}
    shown = [item for item in explanations if found[item["name"]].pairings]
    kinds = judge_shares([found[item["name"]] for item in shown], HALF)
    parts = {
        item["name"]: _build_part(item, kind, found[item["name"]]) for item, kind in zip(shown, kinds, strict=True)
    }
    rivals = study.options["rivals"]
    absent = [item for item in explanations if item["name"] not in parts]
    lacks = [f"{item['first']} and {item['second']}" for item in absent if item["name"] in rivals]
    table: Extra = ("What explains the difference", _list_rows(study, shown, tasks, kinds), NOTES)
    lead = _describe_total(tasks, subject, reference)
    return dataclasses.replace(
        answer,
        kind=_judge_claim(
            [parts[name].kind if name in parts else "undecided" for name in rivals],
            explain(tasks, (subject, reference), (subject, reference)).total,
        ),
        sentence=" ".join([lead, *(parts[name].sentence for name in rivals if name in parts)]),
        parts=parts,
        notes=[
            *(part.sentence for name, part in parts.items() if name not in rivals),
            *([f"Without runs of both methods: {', '.join(item['name'] for item in absent)}."] if absent else []),
            *answer.notes,
        ],
        lacks=answer.lacks or (f"confirming runs of {', of '.join(lacks)}" if lacks else ""),
        tables=[table, *answer.tables] if shown else answer.tables,
    )


def judge_shares(explanations: Sequence[Explained], share: float) -> list[Kind]:
    """Confirmed: more than `share` of a positive total is explained. Contradicted: less. Two Holm families.

    Where the total is not significantly above 0 there is nothing to explain, and all are undecided.
    """
    tests = [
        e.test_share(share) if e.total is not None and e.total.p < ALPHA and e.total.value > 0 else None
        for e in explanations
    ]
    above = apply_holm([None if test is None else test.p_above(0.0) for test in tests])
    below = apply_holm([None if test is None else test.p_below(0.0) for test in tests])
    return [judge_kind(more, less, ALPHA / 2) for more, less in zip(above, below, strict=True)]


def _get_methods(item: Mapping[str, str]) -> tuple[str, str]:
    return item["first"], item["second"]


def _judge_claim(rivals: Sequence[Kind], total: Student | None) -> Kind:
    """No rival may explain half; a subject that is worse than the reference has no advantage to explain."""
    if total is not None and total.high < 0:
        return "contradicted"
    opposite: Mapping[Kind, Kind] = {
        "confirmed": "contradicted",
        "contradicted": "confirmed",
        "undecided": "undecided",
    }
    return merge_verdicts([opposite[kind] for kind in rivals])


def _describe_total(tasks: Sequence[TaskRuns], subject: str, reference: str) -> str:
    total, kept, collapsed = (
        explain(tasks, (subject, reference), (subject, reference), outcome) for outcome in OUTCOMES
    )
    if not total.pairings:
        return f"No confirming runs of {subject} and {reference}."
    return (
        f"{subject} - {reference}: {_format_difference(total)} points on the mean of {len(total.pairings)} tasks,"
        f" {_format_difference(kept)} without collapsed runs; share of collapsed runs: {_format_difference(collapsed)}"
        " percentage points."
    )


def _build_part(item: Mapping[str, str], kind: Kind, found: Explained) -> Part:
    name = f"{item['name'][0].upper()}{item['name'][1:]} ({item['first']} - {item['second']})"
    share = _format_share(found.share)
    if not share:
        return Part(
            kind, f"{name}: {_format_difference(found)} points; no share, as the difference is not significant."
        )
    meaning = {
        "confirmed": "more than half",
        "contradicted": "less than half",
        "undecided": "undecided whether more than half",
    }[kind]
    return Part(kind, f"{name}: {_format_difference(found)} points, {share} of the difference: {meaning}.")


def _format_difference(found: Explained) -> str:
    """With its interval; without one where the difference is the same at every seed."""
    if found.pairings and found.difference is None:
        return f"{found.mean:+.2f} (the same at every seed)"
    return format_interval(found.difference)


def _format_share(share: tuple[float, float, float] | None) -> str:
    return "" if share is None else "{:.0f} % ({:.0f} to {:.0f} %)".format(*(100 * value for value in share))


def _list_rows(
    study: Study, shown: Sequence[Mapping[str, str]], tasks: Sequence[TaskRuns], kinds: Sequence[Kind]
) -> list[dict[str, Any]]:
    total = study.options["subject"], study.options["reference"]
    whole = {"name": "the difference to be explained", "first": total[0], "second": total[1]}
    rows = []
    for item, kind in zip([whole, *shown], ["", *kinds], strict=True):
        score, kept, collapsed = (explain(tasks, total, _get_methods(item), outcome) for outcome in OUTCOMES)
        score_share, kept_share, collapse_share = (
            "" if item is whole else _format_share(found.share) for found in (score, kept, collapsed)
        )
        rows.append(
            {
                "explanation": item["name"],
                "measured by": f"{item['first']} - {item['second']}",
                "explains": _format_difference(score),
                "share": score_share,
                "more than half": {"confirmed": "yes", "contradicted": "no"}.get(kind, kind),
                "without collapsed runs": _format_difference(kept),
                "share without": kept_share,
                "collapsed": _format_difference(collapsed),
                "share of collapses": collapse_share,
            }
        )
    return rows
