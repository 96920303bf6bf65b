"""One seed pair at a time: McNemar's test and the interval over examples. Detail, never pooled over seeds."""

from __future__ import annotations

from typing import Any

from harness.core.record import Record
from reports.frames import format_seeds
from reports.statistics.examples import Examples
from reports.statistics.student import Student

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


def build_pair_rows(pair: tuple[Record, Record], examples: Examples, gap: float, se: float) -> list[dict[str, Any]]:
    """One row per split of a seed pair; `se` is that of its difference on new examples (infinitesimal jackknife).

    low and high: 95 % t-interval, this pair of models on new examples; None where no example tells the two apart,
    which is no certainty. McNemar where predictions are classes.
    """
    import numpy as np

    # an interval of width 0 would claim certainty
    interval = Student(gap, se, examples.groups - 1) if se > 1e-12 and examples.groups > 1 else None
    low, high = (interval.low, interval.high) if interval else (None, None)
    start = {"seeds": format_seeds(pair[0].cell.seeds), "difference": gap, "low": low, "high": high}
    pair_rows = []
    for split in examples.splits:
        method, first = (split.predictions[examples.rows[r.key]] for r in pair)
        # values and texts are not right or wrong, which McNemar's test counts
        if not np.issubdtype(split.predictions.dtype, np.integer):
            pair_rows.append(start | {"split": split.name})
            continue
        right, other = method == split.targets, first == split.targets
        won, lost = int(np.sum(right & ~other)), int(np.sum(other & ~right))
        counted = {"only_method_right": won, "only_first_right": lost, "mcnemar_p": compute_mcnemar_p(won, lost)}
        pair_rows.append(start | {"split": split.name} | counted)
    return pair_rows


def compute_mcnemar_p(won: int, lost: int) -> float:
    """Exact two-sided p: with no difference, examples that only one model has right fall like a fair coin."""
    from scipy.special import bdtr

    return 1.0 if won == lost else min(1.0, 2 * float(bdtr(min(won, lost), won + lost, 0.5)))
