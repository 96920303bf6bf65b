"""What the statistics say, as sentences and tables for the top of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.record import Profile, Record
from reports.detail import build_pair_tables, build_translation_tables
from reports.document import Extra, Findings, Rows
from reports.frames import build_grids
from reports.overview import build_overviews
from reports.statistics.analysis import Analysis, ComparisonResult
from reports.statistics.collapse import BY_LUCK, FAR_BELOW, FAR_OUT, LEAST_GAIN, CollapseCount, TaskCollapses
from reports.statistics.power import format_ends
from reports.statistics.score_frames import AGGREGATE_COLUMNS, IMPROVEMENT, IQM, IQM_GAP
from reports.statistics.seed_pairs import PAIR_COLUMNS
from reports.statistics.signatures import SUBJECT, FailureCheck, check_failure_modes
from reports.statistics.translation import TRANSLATION_COLUMNS
from reports.statistics.verdicts import WORDS

MISSING_SCORES_NOTE = (
    "Runs of so many asked: those without a score are left out here, so a method that fails on its hard cases looks "
    "better than it is; the comparisons above give no verdict then."
)
NO_VERDICT = ("failed", "unpaired", "one seed", "no spread")
MAX_SENTENCES, MAX_SENTENCES_BESIDE = 8, 3
"""Sentences of comparisons at the top, and where a paragraph tells of all; the table below them has all."""
TESTS_NOTE = (
    "adjusted p (Holm): of the t-test of no difference, adjusted over all comparisons of the report. Equivalence and "
    "non-inferiority are tests and families of their own, with their p in the verdict's sentence and in "
    "comparisons.csv. Sign-flip p: of the permutation test of the paired differences over seeds, not adjusted."
)
POWER_NOTE = (
    "minimum detectable difference (80 % power) and seeds needed for the margin, or else for the difference seen: for "
    "one test at 5 %, not adjusted. In brackets the interval that follows from the 95 % interval of the standard "
    "deviation between seeds."
)
COLLAPSE_NOTE = (
    "A run has collapsed if its loss or score is not finite, if it predicts the same for every example, if it gains at "
    "most a third of what the task's best method gains over the majority baseline and half of what its own method's "
    "best run gains (a third for all runs of a method: never learned), or if it lies "
    f"{FAR_BELOW:g} points and {FAR_OUT:g} standard deviations (of the better half) below its method's median and has "
    "lost a third of that median's gain. Best method: highest median, or the best run less "
    f"{BY_LUCK:g} points. Where the best gains less than {LEAST_GAIN:g} points, no method learned the task. Neither "
    "equivalence nor non-inferiority is claimed on a task where runs collapsed or that no method learned; elsewhere "
    "such a claim is for runs that do not collapse. Rate up to: one-sided 95 % bound (Clopper-Pearson)."
)


def build_findings(analysis: Analysis) -> Findings:
    """The verdicts on means over tasks first (on tasks, where there is no mean), then the checks of failures.

    Comparisons without a verdict (failed cells, one seed) come after those that have one, those of other methods after
    those of LoRA-SP as it is.
    """
    over_tasks = [j for j in analysis.judged if len(j.comparison.tasks) > 1]
    paragraphs = build_overviews(over_tasks, analysis.margin)
    ranked = sorted(
        over_tasks or _select_distinct(analysis),
        key=lambda j: (j.verdict.kind in NO_VERDICT, _get_subject_rank(j) if paragraphs else 0),
    )
    most = MAX_SENTENCES_BESIDE if paragraphs else MAX_SENTENCES
    sentences = [*paragraphs, *(j.verdict.sentence for j in ranked[:most])]
    remaining = len(ranked) - most
    if remaining > 0:
        sentences.append(
            f"{remaining} more {'verdict stands' if remaining == 1 else 'verdicts stand'} in the table of comparisons."
        )
    tables = [
        *_build_comparison_table(analysis),
        *_build_collapse_table(analysis),
        *_build_aggregate_table(analysis),
        *_build_subject_table(analysis),
    ]
    tables += _build_component_table(analysis)
    detail = [*build_pair_tables(analysis.rows["pairs"]), *build_translation_tables(analysis.rows["translations"])]
    return Findings(
        sentences,
        [*tables, *_build_check_table(analysis.signatures)],
        detail=detail,
        flat=_build_flat_rows(analysis),
        analysis=analysis,
    )


def _get_subject_rank(judged: ComparisonResult) -> int:
    """0 for LoRA-SP as it is, 1 for its variants, 2 for others."""
    name = judged.comparison.method
    return 0 if name == SUBJECT else 1 if name.startswith((f"{SUBJECT}:", f"{SUBJECT} ")) else 2


def build_check_findings(records: Sequence[Record], profiles: Sequence[Profile]) -> Findings:
    """The checks of failures of records that are not to be compared with each other."""
    return Findings(
        [],
        _build_check_table({grid.suite: check_failure_modes(grid, [], profiles, {}) for grid in build_grids(records)}),
    )


def _select_distinct(analysis: Analysis) -> list[ComparisonResult]:
    """Less the means over one task, which say what the task says."""
    return [j for j in analysis.judged if len(j.comparison.tasks) > 1 or not j.comparison.whole]


def _build_comparison_table(analysis: Analysis) -> list[Extra]:
    if not analysis.judged:
        return []
    margin = "no margin was named" if analysis.margin is None else f"the margin is {analysis.margin:g} points"
    rows = [_build_row(j) for j in _select_distinct(analysis)]
    if len({row["suite"] for row in rows}) == 1:
        rows = [{name: value for name, value in row.items() if name != "suite"} for row in rows]
    return [("Comparisons, paired by seed", rows, [TESTS_NOTE, POWER_NOTE, f"For equivalence {margin}."])]


def _build_row(judged: ComparisonResult) -> dict[str, Any]:
    comparison, tests = judged.comparison, judged.tests
    return {
        "suite": comparison.suite,
        "on": comparison.place,
        "method": comparison.method,
        "against": comparison.first,
        "pairs": comparison.pairs,
        "difference": _format_points(comparison.difference),
        "95 % interval": ""
        if comparison.estimate is None
        else f"{_format_points(comparison.estimate.low)} to {_format_points(comparison.estimate.high)}",
        "generalizes to new": comparison.target.replace("new ", "")
        if comparison.estimate is not None
        else comparison.why,
        "adjusted p (Holm)": _format_p(tests.adjusted_p),
        "sign-flip p": _format_p(comparison.sign_flip),
        "verdict": WORDS.get(judged.verdict.kind, judged.verdict.kind),
        "collapsed": comparison.collapse_counts,
        "minimum detectable difference (80 % power)": ""
        if tests.power is None
        else f"{tests.power.value:.1f} ({format_ends(tests.power)})",
        "seeds needed": f"{tests.seeds} for {tests.effect:.1f}" if tests.seeds and tests.effect else "",
    }


def _format_p(p: float | None) -> str:
    return "" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _build_collapse_table(analysis: Analysis) -> list[Extra]:
    """How many runs collapsed; methods of a task with the same counts share a row."""
    rows: list[dict[str, Any]] = []
    for suite, tasks in analysis.collapses.items():
        for task, one in tasks.items():
            methods: dict[CollapseCount, list[str]] = {}
            for method, share in one.shares.items():
                methods.setdefault(share, []).append(method)
            for share, names in sorted(methods.items(), key=lambda item: -item[0].collapsed):
                start = {"suite": suite, "task": task, "methods": ", ".join(names)}
                counts = {"collapsed runs": str(share), "rate up to": f"{100 * share.upper:.0f} %"}
                rows.append(start | counts | {"": _describe_learning(one, share)})
    return [("Collapsed runs", rows, [COLLAPSE_NOTE])] if rows else []


def _describe_learning(one: TaskCollapses, share: CollapseCount) -> str:
    if not one.is_learned:
        return "no method learned the task"
    return "never learned" if share.is_never_learned else ""


def _format_points(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def _build_aggregate_table(analysis: Analysis) -> list[Extra]:
    """One row per method over two tasks or more."""
    rows_by_method: dict[tuple[str, str], dict[str, Any]] = {}
    for row in analysis.rows["aggregates"]:
        if row["tasks"] > 1:
            runs = row["runs"] if row["runs"] == row["asked"] else f"{row['runs']} of {row['asked']}"
            start = {"suite": row["suite"], "method": row["method"], "tasks": row["tasks"], "runs": runs}
            entry = rows_by_method.setdefault(
                (row["suite"], row["method"]), start | dict.fromkeys((IQM, IQM_GAP, IMPROVEMENT), "-")
            )
            entry[row["measure"]] = _format_interval(row, "{:.2f}" if row["measure"] == IMPROVEMENT else "{:.1f}")
    note = (
        "Interquartile mean: the mean over tasks of each task's 25 % trimmed mean over runs, so that the best and the "
    )
    note += "worst runs of a task are left out and never a task (of fewer than four runs none). Probability: arXiv "
    note += "2108.13264, ties count half. First: the first method of the suite. 95 % intervals generalize to new seeds "
    note += "with these examples; they are not adjusted, and are no verdicts."
    notes = [
        note,
        *([MISSING_SCORES_NOTE] if any(isinstance(row["runs"], str) for row in rows_by_method.values()) else []),
    ]
    return [("Over all tasks", list(rows_by_method.values()), notes)] if rows_by_method else []


def _format_interval(row: Mapping[str, Any], form: str) -> str:
    value = form.format(row["value"])
    return value if row["low"] is None else f"{value} ({form.format(row['low'])} to {form.format(row['high'])})"


def _build_subject_table(analysis: Analysis) -> list[Extra]:
    """Where questions come in subjects, the error of answering other subjects' questions."""
    rows = [
        {"suite": r["suite"], "task": r["task"], "method": r["method"], "score": f"{r['score']:.1f}"}
        | {"standard error": f"{r['example_se']:.2f}", "questions": r["examples"], "subjects": r["clusters"]}
        for r in analysis.rows["scores"]
        if r.get("example_se") is not None and r["clusters"] < r["examples"]
    ]
    note = "Errors of accuracy over questions, free within a subject (clustered); seeds are held as they are."
    return [("Standard errors clustered by subject", rows, [note])] if rows else []


def _build_component_table(analysis: Analysis) -> list[Extra]:
    """Where the spread over seeds comes from, where streams were varied apart."""
    numbers = ("sd", "share", "p")
    rows = [
        dict(row) | {name: None if row[name] is None else round(row[name], 3) for name in numbers}
        for row in analysis.rows["components"]
    ]
    note = "standard deviation in points by seed stream; rest: what no stream explains, run to run included"
    return [("Where the spread comes from", rows, [note])] if rows else []


def _build_check_table(signatures: Mapping[str, Sequence[FailureCheck]]) -> list[Extra]:
    labels = {True: "seen", False: "not seen", None: "not decided"}
    rows = [
        {"suite": suite, "failure": s.name, "": labels[s.seen], "evidence": s.sentence}
        for suite, checks in signatures.items()
        for s in checks
    ]
    note = "failure modes to expect from arXiv 2403.08822, and runs of any method that are unstable or collapsed"
    return [("Signs of failure", rows, [note])] if rows else []


# ---------------------------------------------------------------- rows in full


def _build_flat_rows(analysis: Analysis) -> dict[str, Rows]:
    columns = {"aggregates": AGGREGATE_COLUMNS, "pairs": PAIR_COLUMNS, "translations": TRANSLATION_COLUMNS}
    flat_rows = {name: [{c: row.get(c) for c in of} for row in analysis.rows[name]] for name, of in columns.items()}
    collapses = [
        {"suite": suite, "task": task, "method": method, "runs": share.runs, "collapsed": share.collapsed}
        | {"rate_upper": share.upper, "baseline": one.baseline, "attained": one.attained, "learned": one.is_learned}
        for suite, tasks in analysis.collapses.items()
        for task, one in tasks.items()
        for method, share in one.shares.items()
    ]
    return {
        "comparisons": [_build_full_row(j) for j in _select_distinct(analysis)],
        "collapses": collapses,
        **flat_rows,
    }


def _build_full_row(judged: ComparisonResult) -> dict[str, Any]:
    c, t, e = judged.comparison, judged.tests, judged.comparison.estimate
    return {
        "suite": c.suite,
        "on": c.place,
        "method": c.method,
        "against": c.first,
        "pairs": c.pairs,
        "difference": c.difference,
        "low": e.low if e else None,
        "high": e.high if e else None,
        "generalizes_to": c.target if e else c.why,
        "p": t.p,
        "p_holm": t.adjusted_p,
        "p_sign_flip": c.sign_flip,
        "p_equivalence_holm": t.equivalence_p,
        "p_non_inferiority_holm": t.non_inferiority_p,
        "verdict": WORDS.get(judged.verdict.kind, judged.verdict.kind),
        "no_equivalence_because": c.equivalence_refusal,
        "collapsed": c.collapse_counts,
        "detectable": t.detectable,
        "detectable_low": t.power.low if t.power else None,
        "detectable_high": t.power.high if t.power else None,
        "effect": t.effect,
        "seeds_needed": t.seeds_needed,
        "seeds_needed_low": t.seeds.low if t.seeds else None,
        "seeds_needed_high": t.seeds.high if t.seeds else None,
    }
