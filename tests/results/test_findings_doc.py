"""What docs/findings.md says of the run at two rates is what its kept scores give, with scipy as the reference."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

ROOT = Path(__file__).parents[2]
FINDINGS = " ".join((ROOT / "docs/findings.md").read_text().split())
HALF = "lorasp [lr=0.002]"
LOW = ("lorasp [lr=0.0005]", "lora [lr=0.0005]")


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Headline by seed; columns (method, task), 'mean' over tasks among them."""
    rows = pd.read_csv(ROOT / "results/reference/glue-minilm-h100-rates/scores.csv")
    made = rows.groupby(["seed", "method", "task"]).value.mean().unstack("task")
    made["mean"] = made.mean(axis=1)
    return made.unstack("method").swaplevel(axis=1)


@pytest.mark.parametrize(
    ("method", "first", "place", "told"),
    [(f"lorasp:select={s}", HALF, "mean", f"{s} {{}}") for s in ("row", "column", "rank", "magnitude", "snip")]
    + [(*LOW, "mrpc", "on mrpc {}"), (*LOW, "rte", "and rte {}"), (*LOW, "mean", "the mean of four tasks {}")],
)
def test_differences(scores: pd.DataFrame, method: str, first: str, place: str, told: str) -> None:
    gaps = scores[method][place] - scores[first][place]
    interval = stats.ttest_1samp(gaps, 0).confidence_interval()
    assert len(gaps) == 10
    assert told.format(f"{gaps.mean():+.1f} ({interval.low:+.1f} to {interval.high:+.1f})") in FINDINGS
