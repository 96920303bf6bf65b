"""The short table at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.record import Profile, Record
from reports.document import Table
from reports.frames import grids
from reports.tables import cost_table, score_table

if TYPE_CHECKING:
    from rich.console import Group


def _tables(records: Sequence[Record], profiles: Sequence[Profile]) -> list[Table]:
    made = []
    for grid in grids(records):
        scores, cost = score_table(grid, grid.averages[0]), cost_table(grid, profiles)
        made += [scores, Table(cost.title, cost.head, cost.rows)]
    return made


def table(records: Sequence[Record], profiles: Sequence[Profile]) -> Group:
    """For a terminal."""
    from rich.console import Group
    from rich.table import Table as RichTable

    drawn = []
    for source in _tables(records, profiles):
        rich_table = RichTable(title=source.title, title_justify="left", caption=" ".join(source.notes) or None)
        for i, name in enumerate(source.head):
            rich_table.add_column(name, justify="left" if i < 2 else "right")
        for row in source.rows:
            rich_table.add_row(*row)
        drawn.append(rich_table)
    return Group(*drawn)


def plain(records: Sequence[Record], profiles: Sequence[Profile]) -> str:
    """For a file or a pipe: columns of spaces."""
    lines = []
    for source in _tables(records, profiles):
        rows = [source.head, *source.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(source.head))]
        lines.append(source.title)
        lines += ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.append("")
    return "\n".join(lines)
