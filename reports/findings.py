"""What the statistics say, as sentences and tables of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.core.profile import Profile
from harness.core.record import Record
from reports.cells import format_p
from reports.detail import build_pair_tables, build_translation_tables
from reports.document import Extra, Findings, Rows
from reports.frames import build_grids
from reports.look_table import FIXED_NOTE, build_look_table
from reports.outcomes import build_cost_table, build_stability_table, drop_lone_suite
from reports.statistics.analysis import Analysis, ComparisonResult
from reports.statistics.answers import describe_best_group
from reports.statistics.comparisons import NEW_SEEDS
from reports.statistics.families import ROLES
from reports.statistics.power import format_ends
from reports.statistics.ranking import Ranking
from reports.statistics.score_frames import AGGREGATE_COLUMNS, IMPROVEMENT, IQM
from reports.statistics.seed_pairs import PAIR_COLUMNS
from reports.statistics.signatures import FailureCheck, check_failure_modes
from reports.statistics.stability import STABILITY_COLUMNS
from reports.statistics.translation import TRANSLATION_COLUMNS
from reports.statistics.verdicts import WORDS

MISSING_SCORES_NOTE = (
    "Runs of so many asked: those without a score are left out here, so a method that fails on its hard cases looks "
    "better than it is; the comparisons give no verdict then."
)
TESTS_NOTE = (
    "Role: primary comparisons answer the declared question (by default every method against the first, on the "
    "suite's average); secondary ones are the same pairs on each task; all others are exploratory. Adjusted p: of the "
    "t-test of no difference, by Holm over the primary comparisons, by Benjamini-Hochberg (false discovery rate) over "
    "the secondary and over the exploratory ones. Equivalence and non-inferiority are adjusted likewise; their p is in "
    "comparisons.csv. Sign-flip p: of the permutation test of the paired differences over seeds, not adjusted."
)
POWER_NOTE = (
    "minimum detectable difference (80 % power) and seeds needed for the margin, or else for the difference seen: for "
    "one test at 5 %, not adjusted. In brackets the interval that follows from the 95 % interval of the standard "
    "deviation between seeds."
)


def build_findings(analysis: Analysis) -> Findings:
    """The answer of each suite with its caveats, the tables of all comparisons, and the checks of failures."""
    tables = [
        *_build_comparison_table(analysis),
        *build_look_table(analysis.question),
        *build_stability_table(analysis),
        *build_cost_table(analysis),
        *_build_aggregate_table(analysis),
        *_build_subject_table(analysis),
        *_build_component_table(analysis),
        *_build_check_table(analysis.signatures),
    ]
    # single pairs of models are no evidence about a method, so they stand at the end
    detail = [*build_pair_tables(analysis.rows["pairs"]), *build_translation_tables(analysis.rows["translations"])]
    return Findings(
        list(_list_sentences(analysis)), tables, detail=detail, flat=_build_flat_rows(analysis), analysis=analysis
    )


def _list_sentences(analysis: Analysis) -> Iterator[str]:
    """Of each suite its answer, the methods tied with the best, and the caveats; its name where there are several."""
    for ranking in analysis.rankings:
        start = f"{ranking.suite}: " if len(analysis.rankings) > 1 else ""
        yield f"{start}{ranking.answer}"
        if any(row.difference is not None for row in ranking.rows):
            # a method without a mean has no place among the best
            methods = [row.method for row in ranking.rows if row.mean is not None]
            best = describe_best_group(analysis.best.get(ranking.suite), methods)
            yield from [f"{start}{best}"] if best else []
        for caveat in ranking.caveats:
            yield f"{start}{caveat}"


def build_check_findings(records: Sequence[Record], profiles: Sequence[Profile]) -> Findings:
    """The checks of failures of records that are not to be compared with each other."""
    return Findings(
        [],
        _build_check_table({grid.suite: check_failure_modes(grid, [], profiles, {}) for grid in build_grids(records)}),
    )


def _select_distinct(analysis: Analysis) -> list[ComparisonResult]:
    """Less the means over one task, which say what the task says; the primary ones first."""
    distinct = [j for j in analysis.judged if len(j.comparison.tasks) > 1 or not j.comparison.whole]
    return sorted(distinct, key=lambda j: ROLES.index(j.tests.role))


def _build_comparison_table(analysis: Analysis) -> list[Extra]:
    """One row per comparison, primary ones first."""
    if not analysis.judged:
        return []
    # without a margin readers would take the lack of a difference for equivalence
    margin = "no margin was named" if analysis.margin is None else f"the margin is {analysis.margin:g} points"
    rows = [_build_row(j) for j in _select_distinct(analysis)]
    drop_lone_suite(rows)
    notes = [TESTS_NOTE, POWER_NOTE, f"For equivalence {margin}.", *([FIXED_NOTE] if analysis.question.auto else [])]
    return [("Comparisons, paired by seed", rows, notes, "comparisons")]


def _build_row(judged: ComparisonResult) -> dict[str, Any]:
    comparison, tests = judged.comparison, judged.tests
    low, high = get_interval(judged)
    return {
        "suite": comparison.suite,
        "on": comparison.place,
        "method": comparison.method,
        "against": comparison.first,
        "pairs": comparison.pairs,
        "difference": _format_points(comparison.difference),
        "95 % interval": "" if low is None else f"{_format_points(low)} to {_format_points(high)}",
        "generalizes to new": get_target(judged).replace("new ", ""),
        "adjusted p": format_p(tests.adjusted_p),
        "sign-flip p": format_p(comparison.sign_flip),
        "verdict": WORDS.get(judged.verdict.kind, judged.verdict.kind),
        "role": tests.role,
        "collapsed": comparison.collapse_counts,
        "minimum detectable difference (80 % power)": ""
        if tests.power is None
        else f"{tests.power.value:.1f} ({format_ends(tests.power)})",
        "seeds needed": f"{tests.seeds} for {tests.effect:.1f}" if tests.seeds and tests.effect else "",
        "notes": " ".join(judged.verdict.notes),
    }


def get_interval(judged: ComparisonResult) -> tuple[float | None, float | None]:
    """The interval of a comparison: that under repeated looks where it was looked at."""
    if judged.looked is not None:
        return judged.looked.low, judged.looked.high
    estimate = judged.comparison.estimate
    return (None, None) if estimate is None else (estimate.low, estimate.high)


def get_target(judged: ComparisonResult) -> str:
    """What a comparison generalizes to, or why it has no interval."""
    comparison = judged.comparison
    if judged.looked is not None:
        return NEW_SEEDS
    return comparison.target if comparison.estimate is not None else comparison.why


def _format_points(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def _build_aggregate_table(analysis: Analysis) -> list[Extra]:
    """One row per method over two tasks or more."""
    rows_by_method: dict[tuple[str, str], dict[str, Any]] = {}
    for row in analysis.rows["aggregates"]:
        # over one task these say what the table of scores says
        if row["tasks"] > 1:
            runs = row["runs"] if row["runs"] == row["asked"] else f"{row['runs']} of {row['asked']}"
            start = {"suite": row["suite"], "method": row["method"], "tasks": row["tasks"], "runs": runs}
            entry = rows_by_method.setdefault(
                (row["suite"], row["method"]), start | dict.fromkeys((IQM, IMPROVEMENT), "-")
            )
            if row["measure"] in entry:
                entry[row["measure"]] = _format_interval(row, "{:.2f}" if row["measure"] == IMPROVEMENT else "{:.1f}")
    note = (
        "Interquartile mean: the mean over tasks of each task's 25 % trimmed mean over runs, so that the best and the "
    )
    note += "worst runs of a task are left out and never a task (of fewer than four runs none). Probability: arXiv "
    note += "2108.13264, ties count half. The baseline is that of the ranking. 95 % intervals generalize to new seeds "
    note += "with these examples; they are not adjusted, and are no verdicts."
    notes = [
        note,
        *([MISSING_SCORES_NOTE] if any(isinstance(row["runs"], str) for row in rows_by_method.values()) else []),
    ]
    return [("Over all tasks", list(rows_by_method.values()), notes, "comparisons")] if rows_by_method else []


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
    return [("Standard errors clustered by subject", rows, [note], "scores")] if rows else []


def _build_component_table(analysis: Analysis) -> list[Extra]:
    """Where the spread over seeds comes from, where streams were varied apart."""
    rows = [dict(row) for row in analysis.rows["components"]]
    for row in rows:
        for name in ("sd", "share", "p"):
            row[name] = None if row[name] is None else round(row[name], 3)
    note = "standard deviation in points by seed stream; rest: what no stream explains, run to run included"
    return [("Where the spread comes from", rows, [note], "stability")] if rows else []


def _build_check_table(signatures: Mapping[str, Sequence[FailureCheck]]) -> list[Extra]:
    labels = {True: "seen", False: "not seen", None: "not decided"}
    rows = [
        {"suite": suite, "failure": s.name, "": labels[s.seen], "evidence": s.sentence}
        for suite, checks in signatures.items()
        for s in checks
    ]
    note = "failure modes to expect from arXiv 2403.08822, and runs of any method that are unstable or collapsed"
    return [("Signs of failure", rows, [note], "stability")] if rows else []


# ---------------------------------------------------------------- rows in full


def _build_flat_rows(analysis: Analysis) -> dict[str, Rows]:
    columns = {
        "stability": STABILITY_COLUMNS,
        "aggregates": AGGREGATE_COLUMNS,
        "pairs": PAIR_COLUMNS,
        "translations": TRANSLATION_COLUMNS,
    }
    flat_rows: dict[str, Rows] = {"comparisons": [_build_full_row(j) for j in _select_distinct(analysis)]}
    if any(ranking.rows for ranking in analysis.rankings):
        flat_rows["ranking"] = [row for ranking in analysis.rankings for row in list_ranking_rows(ranking)]
    for name, heads in columns.items():
        # rows of a table may lack a value; a CSV file needs the same columns in each
        flat_rows[name] = [dict(zip(heads, map(row.get, heads), strict=True)) for row in analysis.rows[name]]
    return flat_rows


def list_ranking_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """The ranking of a suite in full: tables show the first methods of hundreds."""
    rows = []
    for row in ranking.rows:
        mean, other, gap = row.mean, row.mean_without_collapsed, row.difference
        rows.append(
            {
                "suite": ranking.suite,
                "method": row.method,
                "over": ranking.average,
                "tied_with_best": row.is_tied,
                "mean": mean.mean if mean else None,
                "low": mean.low if mean else None,
                "high": mean.high if mean else None,
                "mean_without_collapsed": other.mean if other else None,
                "baseline": ranking.baseline,
                "difference": gap.value if gap else None,
                "difference_low": gap.low if gap else None,
                "difference_high": gap.high if gap else None,
                "verdict": None if row.verdict is None else WORDS.get(row.verdict, row.verdict),
                "trainable_parameters": row.trainable_parameters,
                "peak_bytes": row.peak_bytes,
                "samples_per_second": row.samples_per_second.median if row.samples_per_second else None,
                "collapsed": row.collapsed,
                "runs": row.runs,
            }
        )
    return rows


def _build_full_row(judged: ComparisonResult) -> dict[str, Any]:
    c, t = judged.comparison, judged.tests
    low, high = get_interval(judged)
    return {
        "suite": c.suite,
        "role": t.role,
        "on": c.place,
        "method": c.method,
        "against": c.first,
        "pairs": c.pairs,
        "difference": c.difference,
        "low": low,
        "high": high,
        "generalizes_to": get_target(judged),
        "p": t.p,
        "p_adjusted": t.adjusted_p,
        "correction": t.correction,
        "family": t.family,
        "p_sign_flip": c.sign_flip,
        "p_equivalence_adjusted": t.equivalence_p,
        "p_non_inferiority_adjusted": t.non_inferiority_p,
        "verdict": WORDS.get(judged.verdict.kind, judged.verdict.kind),
        "sentence": judged.verdict.sentence,
        "notes": " ".join(judged.verdict.notes),
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
