"""One seed pair at a time: McNemar's test and the paired bootstrap over examples. Detail, never pooled over seeds."""

from __future__ import annotations

from typing import Any

from harness.record import Record
from reports.frames import seed_text
from reports.statistics.examples import Examples

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


def rows(pair: tuple[Record, Record], examples: Examples, gap: float, on_examples: Any) -> list[dict[str, Any]]:
    """One row per split of a seed pair; `on_examples` [draws] is its difference on resampled examples.

    low and high: 95 % percentile interval, this pair of models on new examples; None where no draw differs from
    another, which is no certainty. McNemar where predictions are classes.
    """
    import numpy as np

    low, high = map(float, np.quantile(on_examples, [0.025, 0.975])) if np.ptp(on_examples) > 0 else (None, None)
    start = {"seeds": seed_text(pair[0].cell.seeds), "difference": gap, "low": low, "high": high}
    made = []
    for split in examples.splits:
        method, first = (split.predictions[examples.rows[r.key]] for r in pair)
        if not np.issubdtype(split.predictions.dtype, np.integer):
            made.append(start | {"split": split.name})
            continue
        right, other = method == split.targets, first == split.targets
        won, lost = int(np.sum(right & ~other)), int(np.sum(other & ~right))
        counted = {"only_method_right": won, "only_first_right": lost, "mcnemar_p": mcnemar(won, lost)}
        made.append(start | {"split": split.name} | counted)
    return made


def mcnemar(won: int, lost: int) -> float:
    """Exact two-sided p: with no difference, examples that only one model has right fall like a fair coin."""
    from scipy.special import bdtr

    return 1.0 if won == lost else min(1.0, 2 * float(bdtr(min(won, lost), won + lost, 0.5)))
