"""The runs of a surface as one table, from records or from a stored file of scores.

    stage     search                                 confirm
    seeds     those of the grid, for every rate      fresh ones, at the rate that the search has chosen
    use       validation scores choose the rate      eval scores compare the methods

The file has no predictions, so 10,000 runs take a few hundred KiB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.cell import Cell
from harness.core.errors import UserError, shorten
from harness.core.files import write_atomically
from harness.core.record import Record

if TYPE_CHECKING:
    import pandas as pd

FILE = "surface.parquet"
COLUMNS = {
    "suite": "the suite",
    "task": "the task",
    "method": "the method as it is written on the command line",
    "lr": "peak learning rate",
    "batch_size": "rows per optimizer step",
    "budget": "what ends training: steps, or epochs",
    "seed": "the seed of the adapter's initial weights; the other streams have the same, save `length`",
    "stage": "search or confirm",
    "status": "ok, failed, oom or cancelled",
    "score": "headline score on the eval splits, in points; missing without one",
    "validation": "the mean of its metrics on the held-out part of the train rows, in points",
    "majority": "headline score of the best constant prediction, in points",
    "steps": "optimizer steps",
    "stand_in": "true for synthetic data or model",
    "preset": "quick, small or paper",
    "model": "the backbone as it was named",
    "precision": "dtype of the backbone and its quantization type",
    "device": "GPU, or processor where there was none",
    "commit": "git commit of the harness",
}
"""The columns of a table of runs and their meaning."""
SHARPNESS = {
    "sharpness_before": "largest eigenvalue of the Hessian at initialization, in the trainable parameters without head",
    "sharpness_after": "the same after training",
    "sharpness_before_with_head": "the same at initialization, in all trainable parameters",
    "sharpness_after_with_head": "the same after training",
}
"""Columns that only runs with --sharpness have; a table without any such run has none of them."""
GROUP = ("suite", "task", "batch_size", "budget")
"""Runs that are compared with each other have these in common."""
IDENTITY = (*GROUP, "method", "lr", "seed", "stage")
"""What tells the runs of a table apart."""
STAGES = ("search", "confirm")
Place = tuple[str, str, int, str]
"""Suite, task, batch size and budget, as `GROUP` names them."""


def collect_runs(records: Sequence[Record]) -> pd.DataFrame:
    """The table of these records. A seed is one of the search if some method ran it at several rates of a task."""
    import pandas as pd

    measured = list(SHARPNESS) if any(record.sharpness for record in records) else []
    runs = pd.DataFrame([_build_row(record) for record in records], columns=[*COLUMNS, *measured])
    rates = runs.groupby([*GROUP, "method", "seed"])["lr"].nunique()
    searching = set(rates[rates > 1].index.get_level_values("seed"))
    # without a search there is nothing to confirm: those runs are of one rate that the user has given
    runs["stage"] = ["search" if not searching or seed in searching else "confirm" for seed in runs["seed"]]
    return runs


def locate_cell(cell: Cell) -> Place:
    """The place of a cell's run in the table."""
    protocol = cell.protocol
    steps = "" if protocol.max_steps is None else f", at most {protocol.max_steps:,} steps"
    return cell.suite, cell.task, protocol.batch_size, f"{protocol.epochs:g} epochs{steps}"


def name_places(runs: pd.DataFrame) -> dict[Place, str]:
    """A short name of each place: its task, and of the suite, batch size and budget what differs between places."""
    places: list[Place] = list(dict.fromkeys(runs[list(GROUP)].itertuples(index=False, name=None)))
    suites, _, batches, budgets = ({place[i] for place in places} for i in range(len(GROUP)))
    return {
        place: (f"{place[0]}/" if len(suites) > 1 else "")
        + place[1]
        + (f", batches of {place[2]}" if len(batches) > 1 else "")
        + (f", {place[3]}" if len(budgets) > 1 else "")
        for place in places
    }


def _build_row(record: Record) -> dict[str, object]:
    cell = record.cell
    average = next(iter(record.averages.values()), None)
    headline = average.score if average else None
    # a task outside of the suite's average has its first metric
    score = next(iter(record.scores.values()), None) if headline is None else headline
    held_out = [value for name, value in record.scores.items() if name.endswith("_heldout")]
    has_score = record.status == "ok" and score is not None and math.isfinite(score)
    return {
        **dict(zip(GROUP, locate_cell(cell), strict=True)),
        "method": cell.label,
        "lr": cell.protocol.lr,
        "seed": cell.seeds["init"],
        "stage": "",
        "status": record.status,
        "score": score if has_score else math.nan,
        "validation": sum(held_out) / len(held_out) if has_score and held_out else math.nan,
        "majority": record.majority,
        "steps": record.steps,
        "stand_in": record.stand_in,
        "preset": cell.preset,
        "model": cell.model.name,
        "precision": cell.precision,
        "device": record.environment.machine if record.environment else None,
        "commit": record.environment.commit if record.environment else None,
        **_list_sharpness(record),
    }


def _list_sharpness(record: Record) -> dict[str, float]:
    """The eigenvalues by column; missing ones are nan."""
    values = {}
    for column in SHARPNESS if record.sharpness else ():
        eigenvalue = getattr(record.sharpness, column.removeprefix("sharpness_"))
        values[column] = math.nan if eigenvalue is None else eigenvalue.eigenvalue
    return values


def write_runs(runs: pd.DataFrame, path: Path) -> None:
    """Write a table of runs, sorted, with scores to 1/1,000 point."""
    import io

    stream = io.BytesIO()
    order = ["suite", "task", "method", "batch_size", "budget", "lr", "stage", "seed"]
    rounded = runs.sort_values(order).round({"score": 3, "validation": 3, "majority": 3})
    for column in rounded.columns.intersection(list(SHARPNESS)):
        # 7 significant digits: eigenvalues span orders of magnitude, and their error is about 1e-3
        rounded[column] = rounded[column].astype("float32")
    rounded.to_parquet(stream, index=False, compression="zstd")
    write_atomically(path, stream.getvalue())


def read_runs(folder: Path) -> pd.DataFrame:
    """The stored table of a folder. Raises UserError where it is missing or damaged."""
    import pandas as pd

    path = folder / FILE if folder.is_dir() else folder
    try:
        runs = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"--runs {folder}: {path.name} cannot be read ({error}); give a folder that has one") from error
    if lacking := [name for name in COLUMNS if name not in runs]:
        raise UserError(f"--runs {folder}: {path.name} has no column {', '.join(lacking)}; it is of another version")
    if problem := _find_problem(runs):
        raise UserError(f"--runs {folder}: {path.name} {problem}; write it again with `study surface`")
    return runs


def _find_problem(runs: pd.DataFrame) -> str:
    """What is wrong with a table of runs, as part of a sentence; '' where nothing is."""
    import numpy as np
    from pandas.api.types import is_numeric_dtype

    if runs.empty:
        return "has no runs"
    for name in ("lr", "batch_size", "seed", "score", "validation", "majority"):
        if not is_numeric_dtype(runs[name]) and runs[name].notna().any():
            return f"has text in column {name}, which holds numbers"
    for name in IDENTITY:
        if runs[name].isna().any():
            return f"has runs without {name}"
    values = runs[["lr", "batch_size", "seed", "score", "validation", "majority"]].to_numpy(dtype=float)
    if np.isinf(values).any() or (runs["lr"] <= 0).any():
        return "has a number that is not finite, or a learning rate that is not above 0"
    if unknown := sorted(set(runs["stage"]) - set(STAGES)):
        return f"has stage '{shorten(unknown[0])}'; allowed: {', '.join(STAGES)}"
    # one of two would replace the other without a word
    confirming = runs[runs["stage"] == "confirm"]
    without_rate = [name for name in IDENTITY if name != "lr"]
    for table, names in ((runs, list(IDENTITY)), (confirming, without_rate)):
        twice = table[table.duplicated(names)]
        if len(twice):
            one = ", ".join(f"{name} {shorten(twice.iloc[0][name])}" for name in names)
            return f"has more than one run of {one}"
    return ""
