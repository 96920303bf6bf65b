"""What the functions on a run's folder share: reading it, and the analysis of its records."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.record import Record
from harness.core.spec import Spec
from harness.core.store import Store, truncate_lines

if TYPE_CHECKING:
    from reports.statistics.analysis import Analysis


def read_records(folder: str | Path) -> list[Record]:
    """The records of a run's folder; warns of damaged files, which are skipped. Raises UserError if none is left."""
    records, skipped = Store(Path(folder)).read()
    # Warnings and not errors: one damaged file must not hide the other cells.
    for line in truncate_lines(skipped):
        warnings.warn(line, stacklevel=3)
    if not records:
        why = f" that can be used ({'; '.join(truncate_lines(skipped, 3))})" if skipped else ""
        raise UserError(f"{folder}: no stored cells{why}; give the folder of a run")
    return list(records.values())


def select_records(records: Sequence[Record], task: str | None, method: str | None) -> list[Record]:
    """The records of a task and a method, as they are written on the command line. Raises UserError for none."""
    for what, name, names in (
        ("task", task, dict.fromkeys(r.cell.task for r in records)),
        ("method", method, dict.fromkeys(r.cell.label for r in records)),
    ):
        if name is not None and name not in names:
            raise UserError(f"no cell of {what} {name!r} is stored; stored are: {', '.join(names)}")
    matching = [r for r in records if task in (None, r.cell.task) and method in (None, r.cell.label)]
    if not matching:
        raise UserError(f"no cell of task {task!r} and method {method!r} is stored; give another pair")
    return matching


def analyse_folder(folder: str | Path) -> Analysis:
    """The analysis that the run's report shows, from what is stored. Raises UserError for a folder without a run."""
    from harness.runner.run import load_run
    from results.report import analyse_run

    store = Store(Path(folder))
    records, profiles, skipped = load_run(store.out)
    for line in truncate_lines(skipped):
        warnings.warn(line, stacklevel=3)
    if not records:
        raise UserError(f"{folder}: no stored cells; give the folder of a run")
    return analyse_run(store, records, profiles, Spec())
