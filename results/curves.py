"""The stored loss curves of a run as a pandas frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reports.frames import build_method_names, format_seeds
from results.run_folder import read_records, select_records

if TYPE_CHECKING:
    import pandas as pd

CURVE_COLUMNS = {
    "key": "the cell's key",
    "suite": "the suite",
    "task": "the task",
    "method": "the method, named as in the report",
    "seeds": "the cell's seed, or its seeds by stream (init=0;mask=3)",
    "step": "optimizer step",
    "loss": "mean training loss since the previous stored step",
}
"""What the columns of `curves` are, in their order."""


def curves(folder: str | Path, *, task: str | None = None, method: str | None = None) -> pd.DataFrame:
    """The loss curves of a run, one row per cell and stored step; see CURVE_COLUMNS.

    Cells without a curve (failed before the first step) have no row. `task` and `method` (as written on the command
    line) select cells. Raises UserError for a folder without a run and for a task or method that is not stored.
    """
    import pandas as pd

    records = read_records(folder)
    names = build_method_names(records)
    rows = []
    for record in select_records(records, task, method):
        cell = record.cell
        start = (record.key, cell.suite, cell.task, names[record.key], format_seeds(cell.seeds))
        rows += [(*start, step, loss) for step, loss in record.loss_curve]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))
