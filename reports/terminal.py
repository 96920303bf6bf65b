"""What a run prints at its end: the answer, the ranking and the cost, from the same tables as the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.core.profile import Profile
from harness.core.terminal import print_lines, print_styled, print_table, print_wrapped
from reports.document import LinkedText, Table
from reports.first_screen import build_ranking_table
from reports.frames import Grid
from reports.shown_methods import choose_methods, describe_omitted, select_methods, select_ranked
from reports.statistics.answers import describe_best_group
from reports.statistics.ranking import Ranking
from reports.statistics.verdicts import WITHIN_MARGIN
from reports.tables.cost import build_cost_table

if TYPE_CHECKING:
    from reports.statistics.analysis import Analysis

COLOURS = {"better": "green", "worse": "red", "undecided": "yellow"} | dict.fromkeys(WITHIN_MARGIN, "green")
"""Kind of a verdict -> its colour."""
COST_COLUMNS = ("trainable parameters", "peak memory", "samples/s")
"""Columns of the ranking that the table of cost has too."""
DROPPED_COSTS = ("adapter frozen", "head", "gradients + moments", "backbone trained", "load", "adapter trained")
"""Columns of the cost table that a narrow terminal leaves out, the first of them first."""


def print_end(analysis: Analysis, profiles: Sequence[Profile]) -> None:
    """Print of each suite the answer in colour, the ranking and the cost with its spread."""
    for grid, ranking in zip(analysis.grids, analysis.rankings, strict=True):
        if len(analysis.rankings) > 1:
            print_lines([grid.suite])
        print_answer(ranking)
        best = describe_best_group(analysis.best.get(ranking.suite), [row.method for row in ranking.rows if row.mean])
        print_wrapped(filter(None, [best, *ranking.caveats]))
        # nobody reads hundreds of rows on a terminal: the CSV files have all
        methods = choose_methods(grid, analysis)
        print_ranking(select_ranked(ranking, methods), grid)
        if omitted := describe_omitted(grid, methods):
            print_wrapped([f"{omitted}; ranking.csv of the report has all."])
        cost = drop_empty_columns(build_cost_table(select_methods(grid, methods), profiles))
        print_table([cost.head, *cost.rows], {0}, cost.title, drop=DROPPED_COSTS)
        print_lines([""])


def print_answer(ranking: Ranking) -> None:
    """Print the sentence that answers the question; on a terminal in bold and in the colour of its verdict."""
    kinds = {row.verdict for row in ranking.rows if row.verdict is not None}
    # of several verdicts none gives the colour
    colour = COLOURS.get(next(iter(kinds)), "") if len(kinds) == 1 else ""
    print_styled(ranking.answer, f"bold {colour}".strip())


def print_ranking(ranking: Ranking, grid: Grid) -> None:
    """Print the ranking of the report's first screen; the costs stand in a table of their own."""
    table = drop_columns(build_ranking_table(ranking, grid), COST_COLUMNS)
    # the tasks are of least use: their scores are in the report, and there may be many
    drop = ["tied with best", *reversed(ranking.tasks), "collapsed"]
    print_table([table.head, *table.rows], {0, 1}, table.title, drop=drop, choose_style=choose_style)


def drop_columns(table: Table, names: Sequence[str]) -> Table:
    """The table without the columns of these names."""
    kept = [i for i, name in enumerate(table.head) if name not in names]
    head, rows = (tuple(table.head[i] for i in kept), [tuple(row[i] for i in kept) for row in table.rows])
    return dataclasses.replace(table, head=head, rows=rows)


def drop_empty_columns(table: Table) -> Table:
    """The table without the columns that have no value, such as memory and speed of a run without profiles."""
    empty = [name for i, name in enumerate(table.head) if not any(row[i] for row in table.rows)]
    return drop_columns(table, empty)


def choose_style(cell: str) -> str:
    """Verdicts in colour, the best value of a column in bold."""
    if not isinstance(cell, LinkedText):
        return ""
    return COLOURS.get(cell.mark, "bold" if cell.best else "")
