"""What the statistics say, as sentences and tables for the top of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.record import Profile, Record
from reports.detail import pair_tables, translation_tables
from reports.document import Extra, Findings, Rows
from reports.frames import grids
from reports.overview import overviews
from reports.statistics.analysis import Analysis, Judged
from reports.statistics.power import MOST_SEEDS
from reports.statistics.score_frames import AGGREGATE_COLUMNS, IMPROVEMENT, IQM, IQM_GAP
from reports.statistics.seed_pairs import PAIR_COLUMNS
from reports.statistics.signatures import SUBJECT, Signature, signatures
from reports.statistics.testing import Tests
from reports.statistics.translation import TRANSLATION_COLUMNS

WITHOUT = (
    "Runs of so many asked: those without a score are left out here, so a method that fails on its hard cases looks "
    "better than it is; the comparisons above give no verdict then."
)
NONE = ("failed", "unpaired", "one seed", "no spread")
MOST, MOST_BESIDE = 8, 3
"""Sentences of comparisons at the top, and where a paragraph tells of all; the table below them has all."""
TESTS = (
    "p is that of no difference, corrected for all comparisons of the report (Holm); equivalence and non-inferiority "
    "are tests and families of their own, with their p in the verdict's sentence and in comparisons.csv; what an "
    "interval holds for (new seeds, new examples) stands beside it"
)
POWER = (
    "would be found: the true difference that these seeds find four times in five; seeds it takes: to find the effect "
    "named as often; both for one test at 5 %, without correction"
)


def findings(analysis: Analysis) -> Findings:
    """The verdicts on means over tasks first (on tasks, where there is no mean), then the checks of failures.

    Comparisons without a verdict (failed cells, one seed) come after those that have one, those of other methods after
    those of LoRA-SP as it is.
    """
    over_tasks = [j for j in analysis.judged if len(j.comparison.tasks) > 1]
    whole = overviews(over_tasks, analysis.margin)
    told = sorted(over_tasks or _distinct(analysis), key=lambda j: (j.verdict.kind in NONE, _far(j) if whole else 0))
    most = MOST_BESIDE if whole else MOST
    sentences = [*whole, *(j.verdict.sentence for j in told[:most])]
    left = len(told) - most
    if left > 0:
        sentences.append(
            f"{left} more {'verdict stands' if left == 1 else 'verdicts stand'} in the table of comparisons."
        )
    tables = [*_comparisons(analysis), *_aggregates(analysis), *_subjects(analysis), *_components(analysis)]
    detail = [*pair_tables(analysis.rows["pairs"]), *translation_tables(analysis.rows["translations"])]
    return Findings(sentences, [*tables, *_checks(analysis.signatures)], detail=detail, flat=_flat(analysis))


def _far(judged: Judged) -> int:
    """0 for LoRA-SP as it is, 1 for its variants, 2 for others."""
    name = judged.comparison.method
    return 0 if name == SUBJECT else 1 if name.startswith((f"{SUBJECT}:", f"{SUBJECT} ")) else 2


def checks_alone(records: Sequence[Record], profiles: Sequence[Profile]) -> Findings:
    """The checks of failures of records that are not to be compared with each other."""
    return Findings([], _checks({grid.suite: signatures(grid, [], profiles, {}) for grid in grids(records)}))


def _distinct(analysis: Analysis) -> list[Judged]:
    """Less the means over one task, which say what the task says."""
    return [j for j in analysis.judged if len(j.comparison.tasks) > 1 or not j.comparison.whole]


def _comparisons(analysis: Analysis) -> list[Extra]:
    if not analysis.judged:
        return []
    margin = "no margin was named" if analysis.margin is None else f"the margin is {analysis.margin:g} points"
    rows = [_row(j) for j in _distinct(analysis)]
    if len({row["suite"] for row in rows}) == 1:
        rows = [{name: value for name, value in row.items() if name != "suite"} for row in rows]
    return [("Comparisons, paired by seed", rows, [TESTS, POWER, f"For equivalence {margin}."])]


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
        "holds for": found.target.replace("new ", "") if found.estimate is not None else found.why,
        "p of no difference": "" if tests.holm is None else f"{tests.holm:.3f}" if tests.holm >= 0.001 else "< 0.001",
        "verdict": judged.verdict.kind,
        "would be found": "" if tests.detectable is None else f"{tests.detectable:.1f} points",
        "seeds it takes": _seeds(tests),
    }


def _seeds(tests: Tests) -> str:
    if tests.detectable is None or not tests.effect:
        return ""
    count = f"more than {MOST_SEEDS:,}" if tests.seeds_needed is None else str(tests.seeds_needed)
    return f"{count} for {tests.effect:.1f}"


def _points(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def _aggregates(analysis: Analysis) -> list[Extra]:
    """One row per method over two tasks or more."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in analysis.rows["aggregates"]:
        if row["tasks"] > 1:
            runs = row["runs"] if row["runs"] == row["asked"] else f"{row['runs']} of {row['asked']}"
            start = {"suite": row["suite"], "method": row["method"], "tasks": row["tasks"], "runs": runs}
            own = found.setdefault(
                (row["suite"], row["method"]), start | dict.fromkeys((IQM, IQM_GAP, IMPROVEMENT), "-")
            )
            own[row["measure"]] = _with_interval(row, "{:.2f}" if row["measure"] == IMPROVEMENT else "{:.1f}")
    note = "arXiv 2108.13264: over all runs of all tasks that each method has, with 95 % intervals from runs resampled "
    note += "within tasks. First: the first method of the suite; a run above: ties count half. "
    note += "Intervals are for new seeds, these examples, each for itself: they are not corrected, and are no verdicts."
    notes = [note, *([WITHOUT] if any(isinstance(row["runs"], str) for row in found.values()) else [])]
    return [("Over all tasks", list(found.values()), notes)] if found else []


def _with_interval(row: Mapping[str, Any], form: str) -> str:
    value = form.format(row["value"])
    return value if row["low"] is None else f"{value} ({form.format(row['low'])} to {form.format(row['high'])})"


def _subjects(analysis: Analysis) -> list[Extra]:
    """Where questions come in subjects, the error of answering other subjects' questions."""
    rows = [
        {"suite": r["suite"], "task": r["task"], "method": r["method"], "score": f"{r['score']:.1f}"}
        | {"standard error": f"{r['example_se']:.2f}", "questions": r["examples"], "subjects": r["clusters"]}
        for r in analysis.rows["scores"]
        if r.get("example_se") is not None and r["clusters"] < r["examples"]
    ]
    note = "Errors of accuracy over questions, free within a subject (clustered); seeds are held as they are."
    return [("Standard errors clustered by subject", rows, [note])] if rows else []


def _components(analysis: Analysis) -> list[Extra]:
    """Where the spread over seeds comes from, where streams were varied apart."""
    numbers = ("sd", "share", "p")
    rows = [
        dict(row) | {name: None if row[name] is None else round(row[name], 3) for name in numbers}
        for row in analysis.rows["components"]
    ]
    note = "standard deviation in points by seed stream; rest: what no stream explains, run to run included"
    return [("Where the spread comes from", rows, [note])] if rows else []


def _checks(signatures: Mapping[str, Sequence[Signature]]) -> list[Extra]:
    said = {True: "seen", False: "not seen", None: "not decided"}
    rows = [
        {"suite": suite, "failure": s.name, "": said[s.seen], "evidence": s.sentence}
        for suite, found in signatures.items()
        for s in found
    ]
    note = "the failures that arXiv 2403.08822 would show itself by, looked for in these runs"
    return [("Signs of failure", rows, [note])] if rows else []


# ---------------------------------------------------------------- rows in full


def _flat(analysis: Analysis) -> dict[str, Rows]:
    columns = {"aggregates": AGGREGATE_COLUMNS, "pairs": PAIR_COLUMNS, "translations": TRANSLATION_COLUMNS}
    found = {name: [{c: row.get(c) for c in of} for row in analysis.rows[name]] for name, of in columns.items()}
    return {"comparisons": [_in_full(j) for j in _distinct(analysis)], **found}


def _in_full(judged: Judged) -> dict[str, Any]:
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
        "holds_for": c.target if e else c.why,
        "p": t.p,
        "p_holm": t.holm,
        "p_equivalence_holm": t.equivalence_holm,
        "p_non_inferiority_holm": t.non_inferiority_holm,
        "verdict": judged.verdict.kind,
        "detectable": t.detectable,
        "effect": t.effect,
        "seeds_needed": t.seeds_needed,
    }
