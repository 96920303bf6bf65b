"""Stored records as a pandas frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.garbage import pause_collection
from harness.core.record import Record
from harness.core.store import Store
from results.run_folder import read_records
from results.summary import build_summary, describe_run

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "key": "the cell's key: the name of its files, and what `show` takes",
    "suite": "the suite",
    "task": "the task",
    "method": "the method as it is written on the command line",
    "preset": "quick, small or paper",
    "model": "the backbone as it was named",
    "precision": "dtype of the backbone (fp32, bf16) and its quantization type",
    "protocol": "default, paper or tuned",
    "lr": "peak learning rate",
    "max_steps": "maximum number of optimizer steps; missing: `epochs` decides",
    "epochs": "passes over the train rows, where max_steps is missing",
    "batch_size": "rows per optimizer step",
    "schedule": "learning-rate schedule after the warm-up",
    "warmup": "linear warm-up: a share of the steps below 1, else a number of steps",
    "weight_decay": "weight decay",
    "optimizer": "the optimizer",
    "train_rows": "maximum number of train rows; missing: all. Group joined runs by it and the settings above",
    "seed": "the seed if all streams have the same one, else missing",
    "seed_init": "seed of A; seed_head, seed_mask, seed_order, seed_dropout and (length groups) seed_length likewise",
    "status": "ok, failed, oom or cancelled",
    "reason": "why there is no score; missing when ok",
    "metric": "the metric; missing for a cell without a score",
    "value": "its value in points (0 to 100; correlations times 100)",
    "majority": "majority baseline of the task's headline score, in points",
    "stand_in": "true for synthetic data and model: no evidence about real data",
    "adapter_trained": "trainable parameters of the adapter; head_trained and backbone_trained likewise",
    "steps": "optimizer steps",
    "data": "fingerprint of the task's rows",
    "commit": "git commit of the harness",
    "device": "GPU, or processor where there was none",
    "finished": "when, in UTC",
}
"""The columns of `load` and their meaning."""


@pause_collection()
def load(folder: str | Path) -> pd.DataFrame:
    """The records of a run's folder, one row per cell and score; see COLUMNS. Raises UserError.

    Warns of files that are skipped because they are damaged. A notebook shows a summary with the ranking; selections
    of it are plain frames.
    """
    import pandas as pd

    from results.run_frame import RunFrame

    records = read_records(folder)
    # pandas' nullable integers: a missing seed would turn the whole column into floats.
    frame = pd.DataFrame(_build_columns(records)).astype(dict.fromkeys(("seed", "max_steps", "train_rows"), "Int64"))
    frame["finished"] = pd.to_datetime(frame["finished"], utc=True, format="ISO8601", errors="coerce")
    out = Path(folder)
    return RunFrame.of(frame, describe_run(records, out), build_summary(records, list(Store(out).profiles().values())))


FIELDS: Mapping[str, Callable[[Record], Any]] = {
    "key": lambda r: r.key,
    "suite": lambda r: r.cell.suite,
    "task": lambda r: r.cell.task,
    "method": lambda r: r.cell.label,
    "preset": lambda r: r.cell.preset,
    "model": lambda r: r.cell.model.name,
    "precision": lambda r: r.cell.precision,
    "protocol": lambda r: r.cell.protocol.name,
    "lr": lambda r: r.cell.protocol.lr,
    "max_steps": lambda r: r.cell.protocol.max_steps,
    "epochs": lambda r: r.cell.protocol.epochs,
    "batch_size": lambda r: r.cell.protocol.batch_size,
    "schedule": lambda r: r.cell.protocol.schedule,
    "warmup": lambda r: r.cell.protocol.warmup,
    "weight_decay": lambda r: r.cell.protocol.weight_decay,
    "optimizer": lambda r: r.cell.protocol.optimizer,
    "train_rows": lambda r: r.cell.protocol.train_rows,
    # Most runs pair all streams; where they differ, only the seed_* columns identify the cell.
    "seed": lambda r: next(iter(r.cell.seeds.values())) if len(set(r.cell.seeds.values())) == 1 else None,
}
"""The first columns: name -> value of a record."""
LAST_FIELDS: Mapping[str, Callable[[Record], Any]] = {
    "majority": lambda r: r.majority,
    "stand_in": lambda r: r.stand_in,
    "adapter_trained": lambda r: r.parameters.adapter_trained if r.parameters else None,
    "head_trained": lambda r: r.parameters.head_trained if r.parameters else None,
    "backbone_trained": lambda r: r.parameters.backbone_trained if r.parameters else None,
    "steps": lambda r: r.steps,
    "data": lambda r: r.cell.data,
    "commit": lambda r: r.environment.commit if r.environment else None,
    "device": lambda r: r.environment.machine if r.environment else None,
    "finished": lambda r: r.finished,
}
"""The columns after the score."""


def _build_columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Column -> its values, one for each score of each record."""
    # A failed cell keeps one row, so that counting rows does not hide it.
    scores = [(r, metric, value) for r in records for metric, value in (r.scores.items() or [(None, None)])]
    rows = [record for record, _, _ in scores]
    streams = dict.fromkeys(stream for r in records for stream in r.cell.seeds)
    return {
        **{name: [get(r) for r in rows] for name, get in FIELDS.items()},
        **{f"seed_{stream}": [r.cell.seeds.get(stream) for r in rows] for stream in streams},
        "status": [r.status for r in rows],
        "reason": [r.reason for r in rows],
        "metric": [metric for _, metric, _ in scores],
        "value": [value for _, _, value in scores],
        **{name: [get(r) for r in rows] for name, get in LAST_FIELDS.items()},
    }
