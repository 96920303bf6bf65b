"""The first screen of a suite: the answer, its caveats, and the table of methods by mean score."""

from __future__ import annotations

from harness.core.text import format_bytes
from reports.cells import format_estimate, list_run_keys
from reports.document import LinkedText, RankingView, Table
from reports.frames import Grid
from reports.ranking_table import build_print_table
from reports.statistics.ranking import Ranking, RankingRow
from reports.statistics.verdicts import WORDS

RANKING_TITLE = "Ranking"
NEAR_TASKS = 8
"""Tasks at most that stand before the costs; more would push the costs out of the first screen."""
NO_VALUE = "-"


def build_first_screen(ranking: Ranking, grid: Grid) -> RankingView:
    """The ranking of a suite as every format shows it."""
    table, print_table = build_ranking_table(ranking, grid), build_print_table(ranking)
    return RankingView(ranking.suite, ranking.answer, ranking.caveats, table, print_table)


def build_ranking_table(ranking: Ranking, grid: Grid) -> Table:
    """Methods by mean score: mean with interval, verdict against the baseline, task means, costs, collapsed runs.

    The best value of each column of scores is marked. Costs are empty where they were not measured.
    """
    best_by_task = {task: _find_best(ranking, task) for task in ranking.tasks}
    rows = [_build_row(row, ranking, grid, best_by_task) for row in ranking.rows]
    tasks = [LinkedText(task, task=task) for task in ranking.tasks]
    # costs stand before the tasks where many tasks would push them off the screen
    costs = ["trainable parameters", "peak memory", "samples/s", "collapsed"]
    tail = [*tasks, *costs] if len(tasks) <= NEAR_TASKS else [*costs, *tasks]
    head = ("method", "tied with best", ranking.average or "mean", f"vs {ranking.baseline}", *tail)
    return Table(RANKING_TITLE, head, rows, _list_notes(ranking), topic="ranking")


def _build_row(row: RankingRow, ranking: Ranking, grid: Grid, best_by_task: dict[str, str]) -> tuple[str, ...]:
    means = []
    for task in ranking.tasks:
        estimate = row.task_means.get(task)
        text = NO_VALUE if estimate is None else f"{estimate.mean:.1f}"
        keys = [record.key for record in grid.of(task, row.method)]
        # by the text: values that a reader sees as equal are equally good
        means.append(LinkedText(text, runs=keys, best=text != NO_VALUE and text == best_by_task[task]))
    speed = row.samples_per_second
    costs = [
        "" if row.trainable_parameters is None else f"{row.trainable_parameters:,}",
        format_bytes(row.peak_bytes),
        "" if speed is None else str(speed),
        f"{row.collapsed} of {row.runs}",
    ]
    tail = [*means, *costs] if len(ranking.tasks) <= NEAR_TASKS else [*costs, *means]
    is_best = row.mean is not None and row is ranking.rows[0]
    mean = LinkedText(format_estimate(row.mean), runs=list_run_keys(grid, row.method, ranking.tasks), best=is_best)
    return (
        LinkedText(row.method, method=row.method),
        LinkedText("tied", mark="tied", word="tied") if row.is_tied else "",
        mean,
        _format_difference(row, ranking.baseline),
        *tail,
    )


def _format_difference(row: RankingRow, baseline: str) -> str:
    """The difference to the baseline with its verdict as a word, which the page shows as a sign."""
    if row.method == baseline:
        return LinkedText("baseline", mark="baseline", word="baseline")
    if row.verdict is None:
        return NO_VALUE
    word = WORDS.get(row.verdict, row.verdict)
    text = word if row.difference is None else f"{row.difference.value:+.1f} {word}"
    return LinkedText(text, mark=row.verdict, word=word)


def _find_best(ranking: Ranking, task: str) -> str:
    """The highest mean of a task as it is shown; '' if no method has a score."""
    means = [estimate.mean for row in ranking.rows if (estimate := row.task_means.get(task))]
    return f"{max(means):.1f}" if means else ""


def _list_notes(ranking: Ranking) -> list[str]:
    is_profiled = any(row.peak_bytes or row.samples_per_second for row in ranking.rows)
    profiled = "are profiled in isolation" if is_profiled else "were not profiled"
    return [
        f"Points, mean over seeds; {ranking.average or 'mean'} with the half-width of its 95 % interval. Trainable "
        f"parameters exclude the head. Memory and speed (median, 10th to 90th percentile) {profiled}. "
        "Tied with the best: not shown to be worse than the method with the highest mean (one-sided t-tests, "
        "Bonferroni). So a method whose seeds vary much may be tied though its mean is lower, and one that is not tied "
        "may show no significant difference to the baseline.",
    ]
