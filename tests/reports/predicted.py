"""Made-up records with kept predictions, whose scores are scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score

from harness.core.record import Predictions, Record
from tests.reports.records import cell, record


def kept(
    folder: Path,
    predictions: Any,
    targets: Any,
    *,
    task: str = "rte",
    method: str = "lora",
    seed: int = 0,
    ids: Sequence[str] | None = None,
    score: float | None = None,
    tasks: Sequence[str] = ("rte",),
    **fields: Any,
) -> Record:
    """A record of one split 'validation' with its predictions in `folder`; its score is accuracy unless given."""
    made = cell(task, method, seed, **fields)
    frame = pd.DataFrame(
        {
            "id": list(ids or [f"validation/{i}" for i in range(len(targets))]),
            "split": "validation",
            "target": np.asarray(targets, dtype=float),
            "prediction": predictions,
        }
    )
    frame.to_parquet(folder / f"{made.key}.parquet", index=False)
    points = 100.0 * accuracy_score(targets, predictions) if score is None else score
    side = Predictions(path=f"{made.key}.parquet", sha256="0" * 64, rows=len(frame))
    return record(points, made, tasks, predictions=side)


def guesses(rng: np.random.Generator, targets: Any, skill: Any) -> Any:
    """Class ids that are right with probability `skill` (one number, or one an example)."""
    return np.where(rng.random(len(targets)) < skill, targets, 1 - targets)
