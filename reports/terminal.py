"""The short table at the end of a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.core.record import Profile, Record
from harness.core.terminal import print_lines, print_table
from reports.frames import build_grids
from reports.tables.cost import build_cost_table
from reports.tables.scores import build_score_table


def print_tables(records: Sequence[Record], profiles: Sequence[Profile]) -> None:
    """Print scores (on a terminal with their notes) and the cost of each suite."""
    for grid in build_grids(records):
        scores, cost = build_score_table(grid, grid.averages[0]), build_cost_table(grid, profiles)
        notes = " ".join(scores.notes) if sys.stdout.isatty() else None
        print_table([scores.head, *scores.rows], {0, 1}, scores.title, notes or None)
        print_table([cost.head, *cost.rows], {0, 1}, cost.title)
        print_lines([""])
