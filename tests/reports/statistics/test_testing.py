"""Each role is a family of its own, which holds each comparison once; statsmodels is the reference."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from reports.statistics.analysis import analyse
from reports.statistics.equivalence import compute_equivalence_p
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
    assert found[0].tests.family == 1 and found[0].tests.adjusted_p == found[0].tests.p
    assert found[0].tests.role == "primary" and found[0].verdict.kind == found[1].verdict.kind


def test_each_role_is_corrected_by_itself() -> None:
    """lora, lorasp, full and head on two tasks: pairs against lora, and lorasp against full."""
    rng = np.random.default_rng(0)
    gaps = {"lora": 0.0, "lorasp": 1.0, "full": 1.5, "head": 0.8}
    scores = {
        (task, method): (np.array(FIRST) + gap + rng.normal(0, 0.6, 5)).tolist()
        for task in ("cola", "rte")
        for method, gap in gaps.items()
    }
    found = analyse(grid_of(scores, ["cola", "rte"]), []).judged
    by_role = {role: [j for j in found if j.tests.role == role] for role in ("primary", "secondary", "exploratory")}
    assert {role: len(of_role) for role, of_role in by_role.items()} == {
        "primary": 3,
        "secondary": 6,
        "exploratory": 3,
    }
    for role, of_role in by_role.items():
        ps = [j.tests.p for j in of_role]
        expected = multipletests(ps, method="holm" if role == "primary" else "fdr_bh")[1]
        assert [j.tests.adjusted_p for j in of_role] == pytest.approx(expected)
        assert {j.tests.family for j in of_role} == {len(of_role)}
    assert all(j.comparison.whole for j in by_role["primary"])
    assert {(j.comparison.method, j.comparison.first) for j in by_role["exploratory"]} == {("lorasp", "full")}


def test_equivalence_is_corrected_within_its_role_too() -> None:
    scores = _scores("cola", "rte")
    found = analyse(grid_of(scores, ["cola", "rte"]), [], margin=3.0).judged
    ps = {j.comparison.place: compute_equivalence_p(j.comparison.estimate, 3.0) for j in found if j.comparison.estimate}
    by_place = {j.comparison.place: j.tests for j in found}
    assert by_place["average of 2 tasks"].equivalence_p == ps["average of 2 tasks"]
    tasks = ("cola", "rte")
    expected = multipletests([ps[task] for task in tasks], method="fdr_bh")[1]
    assert [by_place[task].equivalence_p for task in tasks] == pytest.approx(expected)


def test_a_mean_that_lost_a_task_to_failed_cells_claims_nothing() -> None:
    scores = _scores("cola", "rte")
    scores["cola", "lorasp"] = [None] * 5
    found = {j.comparison.place: j for j in analyse(grid_of(scores, ["cola", "rte"]), []).judged}
    assert found["mean of 1 task"].verdict.kind == "failed" and found["rte"].tests.family == 1
