"""Which examples change between two methods, or between two seeds of one method.

    predictions before, after  [P, n]   P pairs of runs, n examples (eval splits, in the order of the files)
    scores      before, after  [P, n]   classes: 1 if right, else 0; values: minus the absolute error;
                                        texts: sentence chrF2 of sacrebleu, 0 to 100

An example improves in a pair of runs if its score is higher after, and gets worse if it is lower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import UserError
from harness.core.metric import HELD_OUT
from harness.core.record import Record
from reports.statistics.clusters import compute_units
from reports.statistics.examples import COLUMNS, NoExamples, convert_column, read_predictions
from reports.statistics.seed_pairs import compute_mcnemar_p

Kind = Literal["classes", "values", "texts"]


@dataclass(frozen=True)
class Side:
    """One side of the comparison: its name as printed, and its run for each pair of runs."""

    name: str
    records: tuple[Record, ...]


@dataclass(frozen=True)
class PairCounts:
    """One pair of runs: numbers of examples that improve, get worse, have the same score on both sides.

    `both_right` is None where predictions are no classes. `p` is that of the exact McNemar test (of the sign test for
    values and texts), for these two models on new examples.
    """

    seeds: str
    improved: int
    worsened: int
    same: int
    both_right: int | None
    p: float


@dataclass(frozen=True)
class ChangedExample:
    """One example over all pairs of runs; `change` is the mean change of its score."""

    id: str
    split: str
    target: Any
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    improved: int
    worsened: int
    change: float

    @property
    def net(self) -> int:
        return self.improved - self.worsened


@dataclass(frozen=True)
class ExampleChanges:
    """All that changes on one task.

    `p` is that of McNemar's test with examples as clusters over the pairs of runs (Durkalski et al. 2003): no
    difference between these models on new examples. `examples` has those that change in any pair, the most consistent
    first: by the number of pairs that improve less the number that get worse, then by the mean change.
    """

    suite: str
    task: str
    before: Side
    after: Side
    kind: Kind
    total: int
    pairs: tuple[PairCounts, ...]
    p: float
    examples: tuple[ChangedExample, ...]


@dataclass(frozen=True)
class _Predictions:
    """The aligned predictions of both sides; see the top of this file for the shapes."""

    ids: Sequence[str]
    splits: Sequence[str]
    targets: Any
    before: Any
    after: Any


def find_changes(before: Side, after: Side, pair_names: Sequence[str], cells: Path) -> ExampleChanges:
    """What changes from one side to the other, from the stored predictions in `cells`.

    The records of both sides are paired in order and belong to one task. `pair_names` says for each pair which seeds it
    is of. Raises UserError if predictions are absent or are not of the same examples.
    """
    import numpy as np

    cell = before.records[0].cell
    aligned = _align_predictions(before, after, cells)
    kind = find_kind(aligned.before)
    scores_before = np.stack([score_examples(kind, row, aligned.targets) for row in aligned.before])
    scores_after = np.stack([score_examples(kind, row, aligned.targets) for row in aligned.after])
    gaps = scores_after - scores_before
    signs = np.sign(gaps).astype(int)
    both_right = ((scores_before == 1) & (scores_after == 1)).sum(axis=1) if kind == "classes" else None
    pairs = tuple(
        _count_pair(name, signs[p], None if both_right is None else int(both_right[p]))
        for p, name in enumerate(pair_names)
    )
    codes = compute_units(aligned.ids, aligned.splits, aligned.targets.tolist())
    # one pair of runs without clusters has an exact test; the clustered one is an approximation for many clusters
    is_simple = len(pairs) == 1 and len(set(codes.tolist())) == len(codes)
    return ExampleChanges(
        cell.suite,
        cell.task,
        before,
        after,
        kind,
        len(aligned.ids),
        pairs,
        pairs[0].p if is_simple else compute_clustered_p(signs.sum(axis=0), codes),
        _rank_examples(aligned, signs, gaps),
    )


def find_kind(predictions: Any) -> Kind:
    """What the predictions of a task are; the targets of classes may be stored as floating-point numbers."""
    import numpy as np

    if np.issubdtype(predictions.dtype, np.floating):
        return "values"
    return "classes" if np.issubdtype(predictions.dtype, np.integer) else "texts"


def score_examples(kind: Kind, predictions: Any, targets: Any) -> Any:
    """The score of each example [n] (see the top of this file)."""
    import numpy as np

    if kind == "classes":
        return (predictions == targets).astype(float)
    if kind == "values":
        return -np.abs(predictions - targets)
    from sacrebleu import sentence_chrf

    # BLEU of one sentence is 0 without a common 4-gram, which chrF has no need of
    pairs = zip(predictions, targets, strict=True)
    return np.array([sentence_chrf(str(text), [str(target)]).score for text, target in pairs])


def compute_clustered_p(nets: Any, codes: Any) -> float:
    """Two-sided p of McNemar's test for clustered pairs (Durkalski et al. 2003, Statistics in Medicine 22, 2417).

    `nets` [n]: pairs of runs in which an example improves less those in which it gets worse; `codes` [n]: the cluster
    of each example. The statistic is chi-squared with one degree of freedom.
    """
    import numpy as np
    from scipy.stats import chi2

    # pairs of runs of one example are not independent, so they add up to one number
    sums = np.bincount(codes, nets)
    squares = float(sums @ sums)
    return float(chi2.sf(float(sums.sum()) ** 2 / squares, 1)) if squares else 1.0


def _count_pair(name: str, signs: Any, both_right: int | None) -> PairCounts:
    improved, worsened = int((signs > 0).sum()), int((signs < 0).sum())
    same = len(signs) - improved - worsened
    return PairCounts(name, improved, worsened, same, both_right, compute_mcnemar_p(improved, worsened))


def _rank_examples(aligned: _Predictions, signs: Any, gaps: Any) -> tuple[ChangedExample, ...]:
    changed = [
        ChangedExample(
            aligned.ids[i],
            aligned.splits[i],
            aligned.targets[i],
            tuple(aligned.before[:, i].tolist()),
            tuple(aligned.after[:, i].tolist()),
            int((signs[:, i] > 0).sum()),
            int((signs[:, i] < 0).sum()),
            float(gaps[:, i].mean()),
        )
        for i in range(len(aligned.ids))
        if signs[:, i].any()
    ]
    return tuple(sorted(changed, key=lambda one: (-abs(one.net), -abs(one.change))))


def _align_predictions(before: Side, after: Side, cells: Path) -> _Predictions:
    """The predictions of both sides on the same examples. Raises UserError."""
    import numpy as np

    first: Any = None
    rows: dict[str, list[Any]] = {"before": [], "after": []}
    for part, side in (("before", before), ("after", after)):
        for record in side.records:
            if record.predictions is None:
                raise UserError(
                    f"{side.name}, cell {record.key}: no predictions are stored; run its command again with --retry"
                )
            try:
                table = read_predictions(cells / f"{record.key}.parquet")
            except NoExamples as error:
                raise UserError(f"{side.name}, cell {record.key}: {error}; run its command again") from error
            # only the first table is kept whole: the ids of thousands of runs would not fit into memory
            first = first if first is not None else table
            if any(not table.column(name).equals(first.column(name)) for name in COLUMNS[:3]):
                raise UserError(
                    f"{before.name} and {after.name} were not scored on the same examples in the same order, so no "
                    "example can be compared; give cells of one --eval-rows and one data source"
                )
            rows[part].append(convert_column(table.column("prediction")))
    ids, splits = (first.column(name).to_pylist() for name in COLUMNS[:2])
    targets = convert_column(first.column("target"))
    if find_kind(rows["before"][0]) == "classes":
        # class ids may be stored as floating-point numbers, and would be printed as 1.0
        targets = targets.astype(np.int64)
    # rows of the validation part are train rows, which take no part in the score that is explained
    at = np.array([split != HELD_OUT for split in splits])
    ids, splits = ([text for text, chosen in zip(texts, at, strict=True) if chosen] for texts in (ids, splits))
    return _Predictions(ids, splits, targets[at], np.stack(rows["before"])[:, at], np.stack(rows["after"])[:, at])


def as_dict(
    changes: ExampleChanges, limit: int, texts: Mapping[tuple[str, str], tuple[str, ...]] | None = None
) -> dict[str, Any]:
    """The changes as JSON has them; at most `limit` examples, with `texts` by split and id if given.

    Without `texts` the targets of generated texts are left out too, for they are text of the data source.
    """
    words = ("right_to_wrong", "wrong_to_right") if changes.kind == "classes" else ("worsened", "improved")
    pairs: list[dict[str, Any]] = []
    for pair in changes.pairs:
        row: dict[str, Any] = {"seeds": pair.seeds, words[0]: pair.worsened, words[1]: pair.improved}
        if pair.both_right is not None:
            row |= {"both_right": pair.both_right, "both_wrong": pair.same - pair.both_right}
        else:
            row |= {"same": pair.same}
        pairs.append(row | {"p": pair.p})
    examples: list[dict[str, Any]] = []
    for one in changes.examples[:limit]:
        # json does not write numpy's own types
        target = one.target.item() if hasattr(one.target, "item") else one.target
        target = None if changes.kind == "texts" and texts is None else target
        example = {"id": one.id, "split": one.split, "target": target, "before": one.before, "after": one.after}
        example |= {words[0]: one.worsened, words[1]: one.improved, "mean_change": one.change}
        examples.append(example | ({} if texts is None else {"texts": texts[one.split, one.id]}))
    return {
        "suite": changes.suite,
        "task": changes.task,
        "before": changes.before.name,
        "after": changes.after.name,
        "kind": changes.kind,
        "examples_scored": changes.total,
        "examples_changed": len(changes.examples),
        "pairs": pairs,
        "p_clustered": changes.p,
        "examples": examples,
    }
