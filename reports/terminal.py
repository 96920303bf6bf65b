"""The short table at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.record import Profile, Record
from reports.columns import aligned, drawn
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

    tables = _tables(records, profiles)
    return Group(*(drawn([t.head, *t.rows], {0, 1}, t.title, " ".join(t.notes) or None) for t in tables))


def plain(records: Sequence[Record], profiles: Sequence[Profile]) -> str:
    """For a file or a pipe: columns of spaces."""
    lines: list[str] = []
    for source in _tables(records, profiles):
        lines += [source.title, *aligned([source.head, *source.rows]), ""]
    return "\n".join(lines)
