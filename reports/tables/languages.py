"""A suite that is scored in several languages: each language's score and its drop to English."""

from __future__ import annotations

from reports.cells import MAX_COLUMNS, build_method_heads, format_estimate, format_with_n
from reports.compare import collect_metric
from reports.document import Table, transpose_table
from reports.frames import Grid
from reports.registered import SuiteContext, report_table
from reports.statistics.shared_seeds import estimate_interval

SUITE, METRIC, ENGLISH = "xnli", "accuracy_", "accuracy_en"


@report_table("languages", place=60, topic="scores")
def build(context: SuiteContext) -> Table | None:
    return build_language_table(context.grid)


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
