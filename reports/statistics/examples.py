"""The kept predictions of one task, lined up over its cells: what each cell said of each example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.record import Record
from reports.statistics.clusters import clusters
from reports.statistics.weighted import METRICS

if TYPE_CHECKING:
    import pyarrow

COLUMNS = ["id", "split", "target", "prediction"]


@dataclass(frozen=True)
class Split:
    """One eval split: predictions [cells, n], targets [n], cluster codes [n]; `metrics` are scored on it."""

    name: str
    predictions: Any
    targets: Any
    clusters: Any
    metrics: tuple[str, ...]

    @property
    def groups(self) -> int:
        return int(self.clusters.max()) + 1


@dataclass(frozen=True)
class Examples:
    """`rows`: record key -> its row of predictions. The headline is the mean of all metrics of all splits."""

    rows: Mapping[str, int]
    splits: tuple[Split, ...]

    @property
    def groups(self) -> int:
        """Independent units of the smallest split."""
        return min(split.groups for split in self.splits)


class NoExamples(Exception):
    """Why the kept predictions of a task give no evidence."""


def load(records: Sequence[Record], metrics: Sequence[str], scores: Mapping[str, float], cells: Path) -> Examples:
    """The predictions of a task's records that have a score, `scores` by key. Raises NoExamples with the reason.

    The headline is computed again from the predictions and held against each record.
    """
    kept = [r for r in records if r.key in scores]
    if not kept or any(r.predictions is None for r in kept):
        raise NoExamples("no predictions were kept")
    tables = [read(cells / f"{r.key}.parquet") for r in kept]
    found = Examples({r.key: i for i, r in enumerate(kept)}, _splits(tables, metrics))
    import numpy as np

    again = headline(found, [np.ones((1, split.predictions.shape[1])) for split in found.splits])[0]
    if not np.allclose(again, [scores[r.key] for r in kept], rtol=0, atol=1e-4):
        raise NoExamples("the kept predictions do not give the recorded scores")
    return found


def read(path: Path) -> pyarrow.Table:
    """Raises NoExamples for a file that does not read or lacks a column."""
    import pyarrow.parquet

    try:
        # not read_table, whose dataset module imports pandas
        with pyarrow.parquet.ParquetFile(path) as stored:
            lacking = sorted(set(COLUMNS) - set(stored.schema_arrow.names))
            if lacking:
                raise NoExamples(f"its predictions were kept without {' and '.join(lacking)}")
            return stored.read(columns=COLUMNS, use_threads=False)
    except (OSError, ValueError) as error:
        raise NoExamples(f"{path.name} does not read") from error


def values(column: pyarrow.ChunkedArray) -> Any:
    """The column [n]; numbers through DLPack, as to_numpy would import pandas, which a report does without."""
    import numpy as np

    if column.null_count or column.num_chunks == 0 or str(column.type) in ("string", "large_string", "bool"):
        return column.to_numpy()
    return np.concatenate([np.from_dlpack(chunk) for chunk in column.chunks])


def _splits(tables: Sequence[pyarrow.Table], metrics: Sequence[str]) -> tuple[Split, ...]:
    import numpy as np

    ids, splits = (np.array(tables[0].column(name).to_pylist()) for name in COLUMNS[:2])
    targets = values(tables[0].column("target"))
    if len(set(zip(ids, splits, strict=True))) < len(ids):
        raise NoExamples("an example's id comes twice")
    if any(not t.column(name).equals(tables[0].column(name)) for t in tables for name in COLUMNS[:3]):
        raise NoExamples("its cells were not scored on the same examples in the same order")
    said = np.stack([values(t.column("prediction")) for t in tables])
    names = list(dict.fromkeys(splits))
    places = [place(metric, names) for metric in metrics]
    made = []
    for name in names:
        own = tuple(base for base, split in places if split == name)
        at = splits == name
        if own:
            made.append(Split(name, said[:, at], targets[at], clusters(list(ids[at]), name), own))
    if not made:
        raise NoExamples("its score is no mean of six metrics or fewer")
    return tuple(made)


def place(metric: str, splits: Sequence[str]) -> tuple[str, str]:
    """('accuracy', 'validation_matched') of 'accuracy_matched'. Raises NoExamples for other metrics."""
    for base in METRICS:
        ending = metric.removeprefix(base)
        fits = [s for s in splits if s.endswith(ending)]
        if metric.startswith(base) and (not ending or ending.startswith("_")) and len(fits) == 1:
            return base, fits[0]
    raise NoExamples(f"{metric} has no resampled form")


def headline(examples: Examples, weights: Sequence[Any]) -> Any:
    """Mean of all metrics in points [draws, cells]; weights [draws, n] of each split."""
    import numpy as np

    return np.mean(
        [
            METRICS[metric](w, split.predictions, split.targets)
            for split, w in zip(examples.splits, weights, strict=True)
            for metric in split.metrics
        ],
        axis=0,
    )
