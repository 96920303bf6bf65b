"""Which methods the tables and figures of a suite show: nobody reads rows of hundreds of them.

All of up to `MAX_METHODS`; of more `SELECTED`: the baseline, the declared ones, and the best by their mean. The CSV
files have all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from reports.document import LinkedText, Table
from reports.frames import Grid
from reports.statistics.analysis import Analysis
from reports.statistics.ranking import Ranking

MAX_METHODS, SELECTED = 40, 24
ALL_ROWS = frozenset({"Cells without a score"})
"""Titles of tables that name methods for what they lack, so the best ones do not stand for them."""


def choose_methods(grid: Grid, analysis: Analysis | None) -> tuple[str, ...]:
    """The methods to show, in the order of the grid; of those that do not compare the first."""
    if len(grid.methods) <= MAX_METHODS:
        return grid.methods
    if analysis is None:
        return grid.methods[:SELECTED]
    declared = [analysis.baselines[grid.suite]]
    # without a declared question every method is primary
    if analysis.question.primary is not None:
        declared += [method for pair in analysis.primary.get(grid.suite, ()) for method in pair]
    best = [row.method for one in analysis.rankings if one.suite == grid.suite for row in one.rows]
    chosen = dict.fromkeys(declared)
    for method in best:
        if len(chosen) < SELECTED:
            chosen[method] = None
    return tuple(method for method in grid.methods if method in chosen)


def select_methods(grid: Grid, methods: Collection[str]) -> Grid:
    """The grid with these methods only. What it knows of all methods, such as which tasks a mean covers, stays."""
    if len(methods) == len(grid.methods):
        return grid
    cells = {place: group for place, group in grid.cells.items() if place[1] in methods}
    part = replace(grid, methods=tuple(m for m in grid.methods if m in methods), cells=cells)
    # shared, as a mean over the tasks that all methods have is not to become one over other tasks
    vars(part)["answers"] = grid.answers
    return part


def select_ranked(ranking: Ranking, methods: Collection[str]) -> Ranking:
    """The ranking with the rows of these methods only."""
    return replace(ranking, rows=tuple(row for row in ranking.rows if row.method in methods))


def describe_omitted(grid: Grid, methods: Collection[str]) -> str:
    """What a table or figure says of the methods that it leaves out; '' where it leaves out none."""
    omitted = len(grid.methods) - len(methods)
    if omitted <= 0:
        return ""
    return (
        f"{omitted:,} of {len(grid.methods):,} methods are left out: shown are the best by their mean and declared ones"
    )


def limit_methods(table: Table, shown: Mapping[str, Collection[str]], notes: Mapping[str, str]) -> Table:
    """The table without rows that name a method which is not to be shown, with a note where there are such.

    `shown`: suite -> its methods to show. `notes`: suite -> what is said of the others, '' where all are shown.
    """
    reasons = [note for note in notes.values() if note]
    if not reasons or table.title in ALL_ROWS:
        return table
    every = {method for methods in shown.values() for method in methods}
    columns = [place for place, name in enumerate(table.head) if name == "against"]
    rows = [row for row in table.rows if _is_shown(row, table.head, columns, shown, every)]
    if len(rows) == len(table.rows):
        return table
    note = f"{len(rows):,} of {len(table.rows):,} rows: {'; '.join(reasons)}. The CSV files have all (--formats csv)."
    return replace(table, rows=rows, notes=[note, *table.notes])


def _is_shown(
    row: tuple[str, ...],
    head: tuple[str, ...],
    opponents: Collection[int],
    shown: Mapping[str, Collection[str]],
    every: Collection[str],
) -> bool:
    """Whether all methods that a row names are to be shown in its suite."""
    named = [cell.method for cell in row if isinstance(cell, LinkedText) and cell.method]
    if not named:
        return True
    named += [row[place] for place in opponents if row[place]]
    # a table of several suites names the suite of each row
    suite = row[head.index("suite")] if "suite" in head else ""
    allowed = shown.get(suite, every)
    return all(method in allowed for method in named)
