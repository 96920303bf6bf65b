"""The stored predictions of a run as a pandas frame."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.files import read_bytes
from harness.core.record import Record
from harness.core.store import Store
from reports.frames import build_method_names, format_seeds
from results.run_folder import read_records, select_records

if TYPE_CHECKING:
    import pandas as pd

PREDICTION_COLUMNS = {
    "key": "the cell's key",
    "suite": "the suite",
    "task": "the task",
    "method": "the method, named as in the report",
    "seeds": "the cell's seed, or its seeds by stream (init=0;mask=3)",
    "id": "the example: split and row number of the data source (validation/17)",
    "split": "the split of the example",
    "target": "the label: a class number, a value, or a text",
    "prediction": "what the cell predicts, in the form of the target",
    "scores": "the logits, one per class, as a list; missing where none are stored",
}
"""What the columns of `predictions` are, in their order."""


def predictions(folder: str | Path, *, task: str | None = None, method: str | None = None) -> pd.DataFrame:
    """The predictions of a run, one row per cell and example; see PREDICTION_COLUMNS.

    `task` and `method` (as written on the command line) select cells, so that a large run fits in memory. Raises
    UserError for a folder without a run, a task or method that is not stored, and cells without predictions.
    """
    import pandas as pd

    records = read_records(folder)
    # names are those of the report, which tell all cells of the run apart
    names = build_method_names(records)
    selected = [r for r in select_records(records, task, method) if r.predictions is not None]
    if not selected:
        raise UserError(f"{folder}: the cells that are asked for have no stored predictions; give other cells")
    cells = Store(Path(folder)).cells
    return pd.concat([_read_frame(record, names[record.key], cells) for record in selected], ignore_index=True)


def _read_frame(record: Record, method: str, cells: Path) -> pd.DataFrame:
    import pandas as pd

    stored = pd.read_parquet(io.BytesIO(read_bytes(cells / f"{record.key}.parquet")))
    stored = stored.rename(columns={"logits": "scores"}).reindex(columns=list(PREDICTION_COLUMNS)[5:])
    cell = record.cell
    values = (record.key, cell.suite, cell.task, method, format_seeds(cell.seeds))
    for place, (name, value) in enumerate(zip(PREDICTION_COLUMNS, values, strict=False)):
        stored.insert(place, name, value)
    return stored
