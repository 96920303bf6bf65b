"""Methods against the first or against named ones, over all tasks, at the study's margin."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.text import count_noun
from reports.compare import NOT_RUN
from reports.statistics.analysis import ComparisonResult
from reports.statistics.collapse import join_refusals
from reports.statistics.comparisons import Comparison
from reports.statistics.testing import select_distinct
from reports.statistics.verdicts import FEW_SEEDS
from studies.answer import Answer, Part, StudyRuns, merge_verdicts
from studies.rules.margins import Sense, format_interval, format_power, judge_estimates
from studies.study import Kind, Study

MEANING: dict[Sense, dict[Kind, str]] = {
    "not worse": {
        "confirmed": "shown not to be worse than {first} by the margin (non-inferior)",
        "contradicted": "significantly worse than {first} by more than the margin",
        "undecided": "neither shown to be within the margin of {first} nor to be worse by more",
    },
    "equal": {
        "confirmed": "shown to be within the margin of {first} (equivalent)",
        "contradicted": "significantly different from {first} by more than the margin",
        "undecided": "neither shown to be within the margin of {first} nor beyond it",
    },
    "not better": {
        "confirmed": "shown not to be better than {first} by the margin",
        "contradicted": "significantly better than {first} by more than the margin",
        "undecided": "neither shown to be better than {first} by more than the margin nor not to be",
    },
}


def judge(study: Study, seen: StudyRuns) -> Answer:
    """Options: `sense`; `subject` and `against` (methods; none: all against the first); `deciding` (methods)."""
    sense: Sense = study.options["sense"]
    margin = seen.margin or 0.0
    chosen = select_comparisons(study, seen)
    other_comparisons = collect_family(chosen, seen)
    # A failed cell may be the worst one, so what is left cannot be compared.
    estimates = [None if _is_broken(j, seen) else j.comparison.estimate for j in chosen]
    refused = [_find_refusal(j, seen) for j in chosen]
    kinds = judge_estimates(
        estimates, margin, sense, [c.estimate for c in other_comparisons], [bool(why) for why in refused]
    )
    parts = {
        _format_name(j): Part(kind, _format_sentence(j, kind, sense, why), _describe_power(j))
        for j, kind, why in zip(chosen, kinds, refused, strict=True)
    }
    deciding = [parts[_format_name(j)] for j in chosen if _is_deciding(j, study.options.get("deciding"))]
    kind = merge_verdicts(p.kind for p in deciding)
    # The sentence quotes the comparisons that made the verdict what it is, four at most.
    decisive = [p for p in deciding if p.kind == kind] or deciding
    lacks = "" if deciding else "cells of the methods that are compared, with the same seeds"
    sentence = " ".join(p.summary for p in decisive[:4]) or f"No verdict yet; missing: {lacks}."
    if len(decisive) > 4:
        sentence += f" {len(decisive) - 4} more are in the evidence."
    rows = [_build_row(j, k, margin) for j, k in zip(chosen, kinds, strict=True)]
    family = [*estimates, *[c.estimate for c in other_comparisons]]
    tested = len(family) - family.count(None)
    notes = [f"margin {margin:g} points; one-sided tests, Holm over all {tested} comparisons of the report (or run)"]
    return Answer(kind, sentence, parts, rows, notes, lacks)


def select_comparisons(study: Study, seen: StudyRuns) -> list[ComparisonResult]:
    """Comparisons of the mean over tasks where there are several tasks, else those of the task."""
    if seen.analysis is None:
        return []
    subject, against = study.options.get("subject"), study.options.get("against")
    several = len({r.cell.task for r in seen.records}) > 1
    candidates = [j for j in seen.analysis.judged if j.comparison.whole == several]
    first = candidates[0].comparison.first if candidates else ""
    return [
        j
        for j in candidates
        if (subject is None or j.comparison.method == subject)
        and j.comparison.first in (against if against is not None else [first])
    ]


def collect_family(chosen: Sequence[ComparisonResult], seen: StudyRuns) -> list[Comparison]:
    """The other comparisons of the Holm family: all that the report and the whole run compare besides `chosen`.

    So a verdict here never claims more than the same comparison in the run's own report.
    """
    chosen_places = {_get_place(j.comparison) for j in chosen}
    every = [j.comparison for a in (seen.analysis, seen.run) if a is not None for j in a.judged]
    # Reversed, so that of two entries of one comparison the first stays.
    by_place = {
        _get_place(c): c
        for c in reversed(select_distinct(every))
        if not c.failed and _get_place(c) not in chosen_places
    }
    return list(by_place.values())


def _get_place(c: Comparison) -> tuple[str, ...]:
    """What is compared; a mean over one task is that task."""
    return c.suite, c.method, c.first, *sorted(c.tasks)


def _is_deciding(judged: ComparisonResult, deciding: Sequence[str] | None) -> bool:
    return deciding is None or judged.comparison.method in deciding or _format_name(judged) in deciding


def _is_broken(judged: ComparisonResult, seen: StudyRuns) -> bool:
    """Whether cells failed, or one of the two methods lacks a task that was run."""
    c, grids = judged.comparison, seen.analysis.grids if seen.analysis else ()
    # A task that the other method lacks may be the one on which it loses.
    run = [(grid, task) for grid in grids if grid.suite == c.suite for task, why in c.missing.items() if why != NOT_RUN]
    return bool(c.failed) or any(not (grid.of(task, c.method) and grid.of(task, c.first)) for grid, task in run)


def _find_refusal(judged: ComparisonResult, seen: StudyRuns) -> str:
    """Why nothing can be confirmed: collapsed runs of these tasks, here or elsewhere in the run."""
    c = judged.comparison
    tasks = [seen.run.collapses.get(c.suite, {}).get(task) for task in c.tasks] if seen.run else []
    return c.equivalence_refusal or join_refusals([one for one in tasks if one is not None], c.method, c.first)


def _format_sentence(judged: ComparisonResult, kind: Kind, sense: Sense, refused: str) -> str:
    sentence = f"{judged.comparison.method} is {_describe_meaning(judged, kind, sense)}: {_format_numbers(judged)}."
    if refused and kind == "undecided":
        return f"{sentence} Nothing is confirmed: {refused}."
    # as in the report of a run: too few seeds leave collapses unseen, and the claim is for runs without
    unseen = kind == "confirmed" and not judged.comparison.excludes_collapses
    return f"{sentence} {FEW_SEEDS}" if unseen else sentence


def _format_name(judged: ComparisonResult) -> str:
    return f"{judged.comparison.method} against {judged.comparison.first}"


def _describe_meaning(judged: ComparisonResult, kind: Kind, sense: Sense) -> str:
    if judged.comparison.failed:
        failures = count_noun(len(judged.comparison.failed), "cell")
        return f"not compared with {judged.comparison.first}, because {failures} failed"
    return MEANING[sense][kind].format(first=judged.comparison.first)


def _format_numbers(judged: ComparisonResult) -> str:
    c = judged.comparison
    on = f"on {c.place}, {c.counted}"
    left_out = "; ".join(f"{task}: {why}" for task, why in c.missing.items() if why != NOT_RUN)
    on += f" ({left_out})" if left_out else ""
    return f"{format_interval(c.estimate)} points {on}" if c.estimate else f"no interval {on}"


def _describe_power(judged: ComparisonResult) -> str:
    tests = judged.tests
    return format_power(tests.power, tests.effect, tests.seeds, family=tests.family)


def _build_row(judged: ComparisonResult, kind: Kind, margin: float) -> dict[str, str]:
    c = judged.comparison
    return {
        "method": c.method,
        "against": c.first,
        "on": c.place,
        "difference (95 %)": format_interval(c.estimate),
        "generalizes to": c.target if c.estimate else c.why,
        "pairs": str(c.pairs),
        "collapsed": c.collapse_counts,
        "margin": f"{margin:g}",
        "verdict": kind,
    }
