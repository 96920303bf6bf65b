"""The comparisons of a run as a pandas frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from results.run_folder import analyse_folder

if TYPE_CHECKING:
    import pandas as pd

COMPARISON_COLUMNS = {
    "suite": "the suite",
    "role": "primary, secondary or exploratory: which correction applies",
    "on": "the task, or the label of the mean over tasks",
    "method": "the method",
    "against": "what it is compared with; differences are method less this",
    "pairs": "paired seeds",
    "difference": "mean difference in points; missing without a pair",
    "low": "lower end of its 95 % interval (of looks: 90 % where equivalent); missing where there is no interval",
    "high": "upper end of its 95 % interval",
    "generalizes_to": "new seeds, or new seeds and new examples; without an interval the reason",
    "p": "two-sided p of no difference, not adjusted; missing where looks decide (--seeds auto)",
    "p_adjusted": "p adjusted within its family",
    "correction": "the adjustment: Holm, or Benjamini-Hochberg",
    "family": "number of comparisons in the family",
    "p_sign_flip": "p of the sign-flip test over seeds, not adjusted",
    "p_equivalence_adjusted": "adjusted p of the test of equivalence; missing without a margin",
    "p_non_inferiority_adjusted": "adjusted p of the test of non-inferiority; missing without a margin",
    "verdict": "the verdict in words",
    "sentence": "the verdict as a sentence",
    "notes": "what limits the verdict",
    "no_equivalence_because": "why neither equivalence nor non-inferiority may be claimed; empty if nothing does",
    "collapsed": "collapsed runs of the method and of the other: '3 of 10, 1 of 10'",
    "detectable": "minimum detectable difference in points (80 % power)",
    "detectable_low": "lower end of its 95 % interval",
    "detectable_high": "upper end of its 95 % interval",
    "effect": "the difference in points that seeds_needed is for",
    "seeds_needed": "seeds that show `effect` with 80 % power; missing where more than 1,000",
    "seeds_needed_low": "lower end of its 95 % interval",
    "seeds_needed_high": "upper end of its 95 % interval",
}
"""What the columns of `comparisons` are, in their order."""


def comparisons(folder: str | Path) -> pd.DataFrame:
    """The comparisons of a run, one row each, with the numbers of its report; see COMPARISON_COLUMNS.

    Reads all predictions: seconds for hundreds of cells. Raises UserError for a folder without a run.
    """
    import pandas as pd

    from reports.findings import build_findings

    rows = build_findings(analyse_folder(folder)).flat["comparisons"]
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))
