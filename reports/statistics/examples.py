"""The kept predictions of one task, lined up over its cells: what each cell said of each example."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.files import read_bytes
from harness.core.metric import METRICS, resolve_metric
from harness.core.record import Record
from reports.statistics.clusters import compute_clusters, compute_units
from suites import metrics as metrics  # registers them

if TYPE_CHECKING:
    import pyarrow.parquet

READERS, READ_AHEAD = 4, 256
"""Threads that read files, and files that are in memory at once."""
COLUMNS = ["id", "split", "target", "prediction"]


@dataclass(frozen=True)
class SplitPredictions:
    """One eval split: predictions [cells, n], targets [n], cluster codes [n]; `metrics` are scored on it.

    `units` [n]: codes of what is drawn at once, counted over all splits (see clusters.compute_units).
    """

    name: str
    predictions: Any
    targets: Any
    clusters: Any
    metrics: tuple[str, ...]
    units: Any

    @property
    def groups(self) -> int:
        return int(self.clusters.max()) + 1

    @functools.cached_property
    def right(self) -> Any:
        """Whether each predicted class is the target [cells, n]; None for values and texts."""
        import numpy as np

        return self.predictions == self.targets if np.issubdtype(self.predictions.dtype, np.integer) else None


@dataclass(frozen=True)
class Examples:
    """`rows`: record key -> its row of predictions. The headline is the mean of all metrics of all splits."""

    rows: Mapping[str, int]
    splits: tuple[SplitPredictions, ...]

    @property
    def groups(self) -> int:
        """Independent units of the smallest split."""
        return min(split.groups for split in self.splits)


NOT_KEPT = "no predictions were kept"


class NoExamples(Exception):
    """Why the kept predictions of a task give no evidence."""


def load_examples(
    records: Sequence[Record], metrics: Sequence[str], scores: Mapping[str, float], cells: Path
) -> Examples:
    """The kept predictions of a task's records that have a score, `scores` by key. Raises NoExamples with the reason.

    Predictions may have been kept for some methods only. The headline is computed again from them and held against
    each record.
    """
    scored = [r for r in records if r.key in scores and r.predictions is not None]
    if not scored:
        raise NoExamples(NOT_KEPT)
    paths = [cells / f"{r.key}.parquet" for r in scored]
    recorded = [scores[r.key] for r in scored]
    if len(paths) > 1:  # where already the first does not fit, the others are not read
        _check_scores(_build_splits(paths[:1], metrics), recorded[:1])
    splits = _build_splits(paths, metrics)
    _check_scores(splits, recorded)
    return Examples({r.key: i for i, r in enumerate(scored)}, splits)


def _check_scores(splits: Sequence[SplitPredictions], recorded: Sequence[float]) -> None:
    """Raise NoExamples where the predictions do not give the recorded headlines."""
    import numpy as np

    recomputed = compute_headline(splits, [np.ones((1, split.predictions.shape[1]), dtype=int) for split in splits])[0]
    if not np.allclose(recomputed, recorded, rtol=0, atol=1e-4):
        raise NoExamples("the kept predictions do not give the recorded scores")


def read_predictions(path: Path, content: bytes | None = None) -> pyarrow.Table:
    """Raises NoExamples for a file that does not read or lacks a column; `content`: the file's, if it is read."""
    with open_predictions(path, content) as stored:
        return stored.read(columns=COLUMNS, use_threads=False)


def _read_all(paths: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    """The files in their order, some ahead: each read waits, of a network disk for long. Raises NoExamples."""
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(paths), READ_AHEAD):
            part = paths[start : start + READ_AHEAD]
            futures = [pool.submit(read_bytes, path) for path in part]
            for path, future in zip(part, futures, strict=True):
                try:
                    yield path, future.result()
                except OSError as error:
                    raise NoExamples(f"{path.name} does not read") from error


@contextlib.contextmanager
def open_predictions(path: Path, content: bytes | None = None) -> Iterator[pyarrow.parquet.ParquetFile]:
    """A file that has all of COLUMNS. Raises NoExamples, also where reading within fails."""
    import pyarrow.parquet

    try:
        # Not read_table, whose dataset module imports pandas. From memory and without pre_buffer, as handing small
        # files to pyarrow's threads takes longer than reading them.
        buffer = pyarrow.BufferReader(read_bytes(path) if content is None else content)
        with pyarrow.parquet.ParquetFile(buffer, pre_buffer=False) as stored:
            lacking = sorted(set(COLUMNS) - set(stored.schema_arrow.names))
            if lacking:
                raise NoExamples(f"its predictions were kept without {' and '.join(lacking)}")
            yield stored
    except (OSError, ValueError) as error:
        raise NoExamples(f"{path.name} does not read") from error


def convert_column(column: pyarrow.ChunkedArray) -> Any:
    """The column [n]; numbers through DLPack, as to_numpy would import pandas, which a report does without."""
    import numpy as np

    if column.null_count or column.num_chunks == 0 or str(column.type) in ("string", "large_string", "bool"):
        return column.to_numpy()
    return np.concatenate([np.from_dlpack(chunk) for chunk in column.chunks])


def _build_splits(paths: Sequence[Path], metrics: Sequence[str]) -> tuple[SplitPredictions, ...]:
    import numpy as np

    first = read_predictions(paths[0])
    ids, splits = (np.array(first.column(name).to_pylist()) for name in COLUMNS[:2])
    targets = convert_column(first.column("target"))
    if len(set(zip(ids, splits, strict=True))) < len(ids):
        raise NoExamples("an example's id comes twice")
    predictions = []
    for path, content in _read_all(paths):
        # One table at a time: all ids of thousands of cells would not fit into memory.
        table = read_predictions(path, content)
        if any(not table.column(name).equals(first.column(name)) for name in COLUMNS[:3]):
            raise NoExamples("its cells were not scored on the same examples in the same order")
        predictions.append(convert_column(table.column("prediction")))
    stacked = np.stack(predictions)
    units = compute_units(ids.tolist(), splits.tolist(), targets.tolist())
    names = list(dict.fromkeys(splits))
    places = [find_split(metric, names) for metric in metrics]
    parts = []
    for name in names:
        metric_names = tuple(base for base, split in places if split == name)
        at = splits == name
        if metric_names:
            clusters = compute_clusters(list(ids[at]), name)
            parts.append(SplitPredictions(name, stacked[:, at], targets[at], clusters, metric_names, units[at]))
    if not parts:
        raise NoExamples("its score is no mean of six metrics or fewer")
    return tuple(parts)


def find_split(score: str, splits: Sequence[str]) -> tuple[str, str]:
    """Names of metric and split: ('accuracy', 'validation_matched') of 'accuracy_matched'.

    Raises NoExamples for a score whose metric is not registered or has no weighted form.
    """
    try:
        metric, split = resolve_metric(score, splits)
    except UserError as error:
        raise NoExamples(f"{score} is no score of a metric that is registered here") from error
    if not metric.is_weighted:
        raise NoExamples(f"{score} has no weighted form")
    return metric.name, split


def compute_headline(splits: Sequence[SplitPredictions], weights: Sequence[Any]) -> Any:
    """Mean of all metrics in points [draws, cells]; weights [draws, n] of each split."""
    import numpy as np

    scores = []
    for split, split_weights in zip(splits, weights, strict=True):
        for name in split.metrics:
            scores.append(METRICS.get(name)().compute_weighted(split.predictions, split.targets, split_weights))
    return np.mean(scores, axis=0)


SAME = 1e-3
"""Predicted values whose range is at most this share of the targets' range count as one value."""


def find_constant_keys(records: Sequence[Record], cells: Path | None) -> set[str]:
    """Keys of the runs whose kept predictions are the same for every example of two or more with different targets."""
    if cells is None:
        return set()
    kept = [r.key for r in records if r.status == "ok" and r.predictions is not None]
    return {key for key in kept if _predicts_one_value(cells / f"{key}.parquet")}


def _predicts_one_value(path: Path) -> bool:
    """`is_constant` of a file; its targets are decoded only where its predictions leave the question open."""
    try:
        with open_predictions(path) as stored:
            said = convert_column(stored.read(columns=["prediction"], use_threads=False).column(0))
            if varies(said):
                return False
            return is_constant(said, convert_column(stored.read(columns=["target"], use_threads=False).column(0)))
    except NoExamples:
        return False


def varies(predictions: Any) -> bool:
    """Whether classes or texts differ, which settles `is_constant`; values may differ by too little."""
    import numpy as np

    return not np.issubdtype(predictions.dtype, np.floating) and bool(np.any(predictions != predictions[:1]))


def is_constant(predictions: Any, targets: Any) -> bool:
    """Whether one class, value or text is predicted for all examples though their targets differ."""
    import numpy as np

    if len(predictions) < 2 or bool(np.all(targets == targets[0])):
        return False
    if not np.issubdtype(predictions.dtype, np.floating):
        return bool(np.all(predictions == predictions[0]))
    return bool(np.ptp(predictions) <= SAME * np.ptp(targets))
