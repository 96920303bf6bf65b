"""What seeds without a collapse leave open: rates by Clopper and Pearson (scipy), points by hand."""

from __future__ import annotations

import pytest
from scipy import stats

from harness.core.looks import Decision
from reports.statistics.collapse import CollapseCount, TaskCollapses
from reports.statistics.collapse_guard import describe_guard
from reports.statistics.comparisons import Comparison


def compare(difference: float, runs: int, collapsed: int = 0, tasks: int = 1) -> Comparison:
    """lorasp against lora on tasks with a majority baseline of 20, of which the best method attains 80."""
    names = tuple(f"t{n}" for n in range(tasks))
    counts = {"lorasp": CollapseCount(collapsed, runs), "lora": CollapseCount(0, runs)}
    collapses = tuple(
        TaskCollapses("glue", name, 20.0, 80.0, {}, counts, dict.fromkeys(counts, "none")) for name in names
    )
    return Comparison(
        *("glue", "lorasp", "lora", "place", names, runs, runs, difference, None, "", None, None, None),
        collapses=collapses,
    )


def find_bound(runs: int) -> float:
    """The one-sided 95 % upper bound of a rate of which none of `runs` was seen, in percent."""
    return 100 * float(stats.binomtest(0, runs, alternative="less").proportion_ci(0.95, "exact").high)


def test_equivalence_leaves_out_what_unseen_collapses_would_move() -> None:
    said = describe_guard(compare(0.1, 59), "equivalent")
    assert f"excludes rates above {find_bound(59):.1f} %" in said
    assert f"move by up to {find_bound(59) / 100 * 60:.1f} points" in said
    # on the mean of four tasks a run that collapses on one of them loses a quarter
    assert f"move by up to {find_bound(59) / 100 * 15:.1f} points" in describe_guard(
        compare(0.1, 59, tasks=4), "equivalent"
    )


@pytest.mark.parametrize(
    ("difference", "says"),
    [
        (1.2, "If 2.0 % of lorasp and none of lora did"),
        (-1.2, "If 2.0 % of lora and none of lorasp did"),
        (30.0, "Only a higher rate of lorasp alone could undo"),
    ],
)
def test_a_difference_names_the_rate_that_would_undo_it(difference: float, says: str) -> None:
    decision: Decision = "better" if difference > 0 else "worse"
    said = describe_guard(compare(difference, 10), decision)
    assert says in said and f"excludes rates above {find_bound(10):.0f} %" in said


def test_nothing_is_said_where_runs_collapsed_or_nothing_is_decided() -> None:
    assert describe_guard(compare(1.0, 59, collapsed=1), "better") == ""
    assert describe_guard(compare(1.0, 59), "undecided") == ""
