"""A suite that is scored in several languages: each language's score, and its drop to English by language family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.cells import MAX_COLUMNS, build_method_heads, format_estimate, format_with_n
from reports.compare import collect_metric
from reports.document import Rows, Table, transpose_table
from reports.frames import Grid
from reports.registered import SuiteContext, report_table
from reports.statistics.comparisons import NEW_SEEDS
from reports.statistics.language_gaps import ENGLISH, METRIC, SUITE
from reports.statistics.shared_seeds import estimate_interval

JOINT = "new seeds and new examples, all translations of an example being one unit"
DROP, EXCESS = "Drop to English by language family", "Drop to English beyond that of {}"


@report_table("languages", place=60, topic="scores")
def build(context: SuiteContext) -> list[Table]:
    tables = [build_language_table(context.grid)]
    if context.analysis is not None and context.grid.suite == SUITE:
        baseline = context.analysis.baselines[SUITE]
        others = [method for method in context.grid.methods if method != baseline]
        tables.append(build_family_table(context.analysis.rows["languages"], "drop", DROP, context.grid.methods))
        excess = EXCESS.format(baseline)
        tables.append(build_family_table(context.analysis.rows["languages"], "excess", excess, others))
    return [table for table in tables if table is not None]


def build_family_table(rows: Rows, name: str, title: str, methods: Sequence[str]) -> Table | None:
    """Family x method: the mean of `drop` or `excess` in points ± half of its interval; None without any."""
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    joint = []
    for row in rows:
        if row.get(name) is not None:
            place = (row["task"], row["family"], row["languages"])
            cells.setdefault(place, {})[row["method"]] = _format_interval(row, name)
            # a row without spread over seeds has no interval
            joint += [row[f"{name}_examples"]] * (row[f"{name}_low"] is not None)
    if not cells or not methods:
        return None
    lines = [(*place, *(by_method.get(method, "-") for method in methods)) for place, by_method in cells.items()]
    target = JOINT if all(joint) else NEW_SEEDS if not any(joint) else f"{JOINT}, or {NEW_SEEDS} without predictions"
    notes = [
        "Points of accuracy, the mean over the family's languages less English, paired by seed (below 0: a drop), ± "
        f"half of the 95 % interval for {target}."
    ]
    table = Table(title, ("trained on", "family", "languages", *build_method_heads(methods)), lines, notes)
    return transpose_table(table, 3, "method") if len(methods) > MAX_COLUMNS else table


def _format_interval(row: Mapping[str, Any], name: str) -> str:
    # + 0.0 turns the -0.0 of a rounded negative number into 0.0
    text = f"{round(row[name], 1) + 0.0:+.1f}"
    low, high, runs = (row[f"{name}_{part}"] for part in ("low", "high", "runs"))
    text += " (no spread)" * (low is None and runs > 1) if low is None else f" ± {(high - low) / 2:.1f}"
    return text if runs == row["asked"] else f"{text} (n={runs} of {row['asked']})"


def build_language_table(grid: Grid) -> Table | None:
    """Language x method: accuracy, and the accuracy less that of English of the same seed; None for other suites."""
    if grid.suite != SUITE:
        return None
    rows = []
    for task in grid.tasks:
        names = dict.fromkeys(name for r in grid.select_task(task) for name in r.scores if name.startswith(METRIC))
        for metric in sorted(names, key=lambda name: (name != ENGLISH, name)):
            language = metric.removeprefix(METRIC)
            rows.append((task, language, *(_format_cell(grid, task, method, metric) for method in grid.methods)))
    notes = ["Accuracy in points; in brackets the score less that of English, paired by seed (below 0: a drop)."]
    table = Table("Scores by language", ("trained on", "scored in", *build_method_heads(grid.methods)), rows, notes)
    return transpose_table(table, 2, "method") if len(grid.methods) > MAX_COLUMNS else table


def _format_cell(grid: Grid, task: str, method: str, metric: str) -> str:
    scores, english = (collect_metric(grid, task, method, name) for name in (metric, ENGLISH))
    text = format_with_n(estimate_interval(scores), len(grid.of(task, method)))
    if metric == ENGLISH:
        return text
    drop = estimate_interval({seed: score - english[seed] for seed, score in scores.items() if seed in english})
    return f"{text} ({format_estimate(drop, sign=True)})"
