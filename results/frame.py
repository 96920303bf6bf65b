"""Stored records as a pandas frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    "train_rows": "maximum number of train rows; missing: all. Group joined runs by it, max_steps and precision",
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


def load(folder: str | Path) -> pd.DataFrame:
    """The records of a run's folder, one row per cell and score; see COLUMNS. Raises UserError.

    Warns of files that are skipped because they are damaged. A notebook shows a summary with the ranking; selections
    of it are plain frames.
    """
    import pandas as pd

    from results.run_frame import RunFrame

    records = read_records(folder)
    rows = [row for record in records for row in _build_rows(record)]
    # pandas' nullable integers: a missing seed would turn the whole column into floats.
    frame = pd.DataFrame(rows).astype(dict.fromkeys(("seed", "max_steps", "train_rows"), "Int64"))
    frame["finished"] = pd.to_datetime(frame["finished"], utc=True, format="ISO8601", errors="coerce")
    out = Path(folder)
    return RunFrame.of(frame, describe_run(records, out), build_summary(records, list(Store(out).profiles().values())))


def _build_rows(record: Record) -> list[dict[str, Any]]:
    cell, p, e = record.cell, record.parameters, record.environment
    seeds = set(cell.seeds.values())
    start = {
        "key": record.key,
        "suite": cell.suite,
        "task": cell.task,
        "method": cell.label,
        "preset": cell.preset,
        "model": cell.model.name,
        "precision": cell.precision,
        "protocol": cell.protocol.name,
        "lr": cell.protocol.lr,
        "max_steps": cell.protocol.max_steps,
        "epochs": cell.protocol.epochs,
        "train_rows": cell.protocol.train_rows,
        # Most runs pair all streams; where they differ, only the seed_* columns identify the cell.
        "seed": seeds.pop() if len(seeds) == 1 else None,
        **{f"seed_{stream}": seed for stream, seed in cell.seeds.items()},
        "status": record.status,
        "reason": record.reason,
    }
    end = {
        "majority": record.majority,
        "stand_in": record.stand_in,
        "adapter_trained": p.adapter_trained if p else None,
        "head_trained": p.head_trained if p else None,
        "backbone_trained": p.backbone_trained if p else None,
        "steps": record.steps,
        "data": cell.data,
        "commit": e.commit if e else None,
        "device": e.machine if e else None,
        "finished": record.finished,
    }
    # A failed cell keeps one row, so that counting rows does not hide it.
    scores = record.scores.items() or [(None, None)]
    return [{**start, "metric": metric, "value": value, **end} for metric, value in scores]
