"""The Holm family holds each comparison once, with statsmodels as the reference."""

from __future__ import annotations

import pytest
from statsmodels.stats.multitest import multipletests

from reports.statistics.analysis import analyse
from tests.reports.records import grid_of

FIRST = [70.0, 72.0, 71.0, 69.0, 73.0]
GAPS = [1.0, 0.2, 1.6, 2.0, 0.5]


def _scores(*tasks: str) -> dict[tuple[str, str], list[float | None]]:
    own: list[float | None] = [a + b for a, b in zip(FIRST, GAPS, strict=True)]
    return {(t, m): list(v) for t in tasks for m, v in (("lora", FIRST), ("lorasp", own))}


def test_a_mean_over_one_task_is_no_second_comparison() -> None:
    """One task of a suite whose average has more: p stands as it is, and the mean says the same."""
    found = analyse(grid_of(_scores("rte"), ["cola", "rte"]), [], margin=5.0).judged
    assert len(found) == 2 and found[0].tests == found[1].tests
    assert found[0].tests.family == 1 and found[0].tests.holm == found[0].tests.p
    assert "Holm" not in found[0].verdict.sentence and found[0].verdict.kind == found[1].verdict.kind


def test_a_mean_over_several_tasks_counts() -> None:
    scores = _scores("cola", "rte")
    scores["cola", "lorasp"] = [70.1, 71.6, 72.5, 69.2, 74.0]
    found = analyse(grid_of(scores, ["cola", "rte"]), []).judged
    ps = [j.tests.p for j in found]
    assert len(found) == 3 and {j.tests.family for j in found} == {3}
    assert [j.tests.holm for j in found] == pytest.approx(multipletests(ps, method="holm")[1])


def test_a_mean_that_lost_a_task_to_failed_cells_claims_nothing() -> None:
    scores = _scores("cola", "rte")
    scores["cola", "lorasp"] = [None] * 5
    found = {j.comparison.place: j for j in analyse(grid_of(scores, ["cola", "rte"]), []).judged}
    assert found["mean of 1 named task"].verdict.kind == "failed" and found["rte"].tests.family == 1
