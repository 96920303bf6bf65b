"""A suite that is scored in several languages: each language's score and its drop to English."""

from __future__ import annotations

import math

from reports.document import Table, turned
from reports.frames import Grid, Seeds, seeds_of
from reports.statistics.shared_seeds import estimate_over
from reports.tables import MOST_COLUMNS, counted, named, shown

SUITE, METRIC, ENGLISH = "xnli", "accuracy_", "accuracy_en"


def language_table(grid: Grid) -> Table | None:
    """Language x method: accuracy, and the accuracy less that of English of the same seed; None for other suites."""
    if grid.suite != SUITE:
        return None
    rows = []
    for task in grid.tasks:
        names = dict.fromkeys(name for r in grid.of_task(task) for name in r.scores if name.startswith(METRIC))
        for metric in sorted(names, key=lambda name: (name != ENGLISH, name)):
            language = metric.removeprefix(METRIC)
            rows.append((task, language, *(_cell(grid, task, method, metric) for method in grid.methods)))
    notes = ["Accuracy in points; in brackets the score less that of English, paired by seed (below 0: a drop)."]
    table = Table("Scores by language", ("trained on", "scored in", *named(grid.methods)), rows, notes)
    return turned(table, 2, "method") if len(grid.methods) > MOST_COLUMNS else table


def _cell(grid: Grid, task: str, method: str, metric: str) -> str:
    scores, english = (_by_seed(grid, task, method, name) for name in (metric, ENGLISH))
    text = counted(estimate_over(scores), len(grid.of(task, method)))
    if metric == ENGLISH:
        return text
    drop = estimate_over({seed: score - english[seed] for seed, score in scores.items() if seed in english})
    return f"{text} ({shown(drop, sign=True)})"


def _by_seed(grid: Grid, task: str, method: str, metric: str) -> dict[Seeds, float]:
    found = {seeds_of(r): r.scores[metric] for r in grid.of(task, method) if r.status == "ok" and metric in r.scores}
    return {seeds: value for seeds, value in found.items() if math.isfinite(value)}
