"""One seed pair at a time: McNemar's test and the interval over examples. Detail, never pooled over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.core.record import Record
from reports.frames import format_seeds
from reports.statistics.examples import Examples, SplitPredictions
from reports.statistics.student import CONFIDENCE, Student

PAIR_COLUMNS = (
    "suite",
    "task",
    "method",
    "first",
    "seeds",
    "difference",
    "low",
    "high",
    "split",
    "only_method_right",
    "only_first_right",
    "mcnemar_p",
)


def compute_standard_errors(influences: Any) -> list[float]:
    """Of each difference on new examples, from its influences [units, seeds]."""
    import numpy as np

    return [float(se) for se in np.sqrt(np.einsum("us,us->s", influences, influences))]


def build_pair_rows(
    pairs: Sequence[tuple[Record, Record]], examples: Examples, gaps: Sequence[float], errors: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """One row per split of each seed pair; `errors` are those of the differences `gaps` on new examples (jackknife).

    low and high: 95 % t-interval, this pair of models on new examples; None where no example tells the two apart,
    which is no certainty. McNemar where predictions are classes.
    """
    counts = [count_right_alone(pairs, examples, split) for split in examples.splits]
    groups = examples.groups
    for number, (pair, gap, se) in enumerate(zip(pairs, gaps, errors, strict=True)):
        # an interval of width 0 would claim certainty
        interval = Student(gap, se, groups - 1) if se > 1e-12 and groups > 1 else None
        low, high = interval.compute_interval(CONFIDENCE) if interval else (None, None)
        start = {"seeds": format_seeds(pair[0].cell.seeds), "difference": gap, "low": low, "high": high}
        for split, split_counts in zip(examples.splits, counts, strict=True):
            row = start | {"split": split.name}
            if split_counts is not None:
                won, lost = split_counts[number]
                row |= {"only_method_right": won, "only_first_right": lost, "mcnemar_p": compute_mcnemar_p(won, lost)}
            yield row


def count_right_alone(
    pairs: Sequence[tuple[Record, Record]], examples: Examples, split: SplitPredictions
) -> list[tuple[int, int]] | None:
    """For each pair the examples that only its first model has right, and those that only its second has.

    None for values and texts, which are not right or wrong.
    """
    if split.right is None:
        return None
    method, first = (split.right[[examples.rows[pair[side].key] for pair in pairs]] for side in (0, 1))
    won, lost = (method & ~first).sum(axis=1), (first & ~method).sum(axis=1)
    return list(zip(won.tolist(), lost.tolist(), strict=True))


def compute_mcnemar_p(won: int, lost: int) -> float:
    """Exact two-sided p: with no difference, examples that only one model has right fall like a fair coin."""
    from scipy.special import bdtr

    return 1.0 if won == lost else min(1.0, 2 * float(bdtr(min(won, lost), won + lost, 0.5)))
