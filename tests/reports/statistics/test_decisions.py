"""The looks of an automatic run on made-up records, against the simulated studies, and what the report says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.core.looks import Look, LookedComparison, Looks
from harness.core.record import Record
from reports.findings import build_findings
from reports.statistics.analysis import ComparisonResult, analyse
from reports.statistics.decisions import SequentialTests
from reports.statistics.families import Question
from reports.statistics.looked_verdicts import describe_stop
from reports.statistics.sequential import compute_nominal_levels
from scripts.auto_seeds.studies import Scenario, draw_studies, run_auto
from tests.reports.records import grid_of
from tests.reports.statistics.test_skewness import find_hall_interval

NAMES = ("undecided", "better", "worse", "equivalent")


def build_records(scores: dict[str, Any], seeds: int) -> list[Record]:
    """Records on rte of the first seeds of each method."""
    return grid_of({("rte", name): [float(v) for v in values[:seeds]] for name, values in scores.items()}, ["rte"])


def run_looks(scores: dict[str, Any], looks: Looks, question: Question | None = None) -> list[Look]:
    """All looks until everything is decided, each with the methods that the look before left open."""
    tests, past = SequentialTests(looks, 1.0, question or Question()), []
    counts = dict.fromkeys(scores, 0)
    active = set(scores)
    for seeds in looks.counts:
        counts |= dict.fromkeys(active, seeds)
        by_place = {("rte", name): [float(v) for v in scores[name][: counts[name]]] for name in scores}
        records = grid_of(by_place, ["rte"])
        look, pending = tests.decide(records, seeds)
        past.append(look)
        if look.is_decided:
            break
        active = {record.cell.method for record in records if record.key in pending}
    return past


def find_only(look: Look) -> LookedComparison:
    (one,) = look.comparisons
    return one


def test_decisions_are_those_of_the_simulation() -> None:
    """So the simulated errors are those of the code that runs."""
    looks = Looks(5, 72)
    for number, scenario in enumerate(
        [Scenario("same", 0.0), Scenario("apart", 0.4), Scenario("collapses", 0.0, rates=(0.1, 0.05))]
    ):
        drawn = draw_studies(scenario, 6, looks.most, np.random.default_rng(number))
        outcome = run_auto(drawn, looks)
        for study in range(6):
            first = 82.0 + 0.01 * np.random.default_rng(study).standard_normal(looks.most)
            first -= 62.0 * drawn.collapsed[study, 0, :, 1]
            scores = {"lora": first, "lorasp": first + drawn.differences[study, 0]}
            one = find_only(run_looks(scores, looks)[-1])
            assert (one.decision, one.seeds) == (NAMES[outcome.decisions[study, 0]], outcome.seeds[study, 0])
            assert (one.low, one.high) == pytest.approx((outcome.low[study, 0], outcome.high[study, 0]), abs=0.15)


def draw(by: float, seed: int, seeds: int = 100, sd: float = 0.5) -> Any:
    return 80 + by + sd * np.random.default_rng(seed).standard_normal(seeds)


def test_intervals_are_scipys_at_the_level_of_the_look() -> None:
    scores = {"lora": draw(0, 0), "lorasp": draw(0.2, 1)}
    one = find_only(run_looks(scores, Looks(5, 20))[1])
    gaps = scores["lorasp"][:7] - scores["lora"][:7]
    level = 1 - compute_nominal_levels(Looks(5, 20).counts, 0.05)[1]
    low, high = stats.t.interval(level, 6, gaps.mean(), stats.sem(gaps))
    # the union with that of Hall's test, by numpy's roots of its cubic (see test_skewness)
    of_hall = find_hall_interval(gaps, 2 * stats.skew(gaps, bias=False), level)
    assert (one.low, one.high) == pytest.approx((min(low, of_hall[0]), max(high, of_hall[1])))


def test_a_difference_stops_early_and_equivalence_waits_for_the_guard() -> None:
    apart = run_looks({"lora": draw(0, 0), "lorasp": draw(3, 1)}, Looks())[-1]
    assert find_only(apart).decision == "better" and apart.seeds <= 10
    alike = run_looks({"lora": draw(0, 0), "lorasp": draw(0, 1)}, Looks())
    assert find_only(alike[-1]).decision == "equivalent" and alike[-1].seeds == 59
    assert "40 seeds allow collapses of 7 %" in find_only(alike[-2]).why


def test_no_equivalence_is_claimed_once_a_run_has_collapsed() -> None:
    scores = {"lora": draw(0, 0), "lorasp": draw(0, 1)}
    scores["lorasp"][50] = 20.0
    one = find_only(run_looks(scores, Looks())[-1])
    assert (one.decision, one.seeds, one.collapsed, one.collapsed_first) == ("undecided", 100, 1, 0)
    assert one.equivalence_p is None and "collapsed" in one.why
    stable = np.delete(scores["lorasp"] - scores["lora"], 50)
    assert one.difference_of_stable == pytest.approx(stable.mean()) and one.low is not None
    assert one.low < 0 < (one.high or 0)


def test_decided_methods_get_no_more_seeds_and_keep_their_decision() -> None:
    scores = {"lora": draw(0, 0), "lorasp": draw(3, 1), "full": draw(0, 2)}
    looks = run_looks(scores, Looks(5, 88))
    decided = {one.method: (one.decision, one.seeds) for one in looks[-1].comparisons}
    assert decided["lorasp"][0] == "better" and decided["lorasp"][1] <= 14
    # of two claims of equivalence the first one needs 2.5 % (Holm), which are 72 seeds without a collapse
    assert 0.95**72 < 0.025 and decided["full"] == ("equivalent", 72)


def test_looks_do_not_depend_on_where_a_run_was_interrupted() -> None:
    scores = {"lora": draw(0, 0, sd=2), "lorasp": draw(1, 1, sd=2)}
    looks = Looks(5, 40)
    whole = run_looks(scores, looks)
    # as a resumed run: new tests, from the first look on, while more records exist than the look may use
    assert run_looks(scores, looks) == whole
    assert [Look.model_validate_json(look.model_dump_json()) for look in whole] == whole


def test_a_comparison_with_a_failed_cell_gets_no_more_seeds() -> None:
    values: list[float | None] = [float(v) for v in draw(0, 1)[:5]]
    values[2] = None
    records = grid_of({("rte", "lora"): [float(v) for v in draw(0, 0)[:5]], ("rte", "lorasp"): values}, ["rte"])
    look, pending = SequentialTests(Looks(), 1.0).decide(records, 5)
    assert find_only(look).decision == "failed" and look.is_decided and not pending


# ---------------------------------------------------------------- the report


def judge(scores: dict[str, Any], looks: Looks, stopped: str) -> ComparisonResult:
    past = tuple(run_looks(scores, looks))
    question = Question(auto=str(looks), looks=past, stopped=stopped)
    (one,) = analyse(build_records(scores, past[-1].seeds), [], margin=1.0, question=question).judged
    return one


def test_the_report_states_the_decision_with_the_sequential_interval() -> None:
    scores = {"lora": draw(0, 0), "lorasp": draw(3, 1)}
    judged = judge(scores, Looks(), "decided")
    assert judged.verdict.kind == "better" and judged.looked is not None
    low, high = judged.looked.low, judged.looked.high
    assert f"(95 % sequential interval {low:+.1f} to {high:+.1f})" in judged.verdict.sentence
    # wider than the interval of a fixed number of seeds
    assert judged.comparison.seeds is not None and high is not None
    assert high - judged.comparison.seeds.value > judged.comparison.seeds.half
    assert judged.tests.adjusted_p == judged.looked.p and judged.tests.p is None


def test_the_tables_have_the_looks() -> None:
    scores = {"lora": draw(0, 0), "lorasp": draw(0, 1)}
    past = tuple(run_looks(scores, Looks()))
    question = Question(auto="auto:5..100", looks=past, stopped="decided")
    findings = build_findings(analyse(build_records(scores, 59), [], margin=1.0, question=question))
    rows = next(rows for title, rows, *_ in findings.tables if title.startswith("Looks"))
    assert [row["seeds"] for row in rows] == [look.seeds for look in past]
    (row,) = findings.flat["comparisons"]
    assert (row["low"], row["high"]) == (past[-1].comparisons[0].low, past[-1].comparisons[0].high)
    assert row["verdict"] == "equivalent"


@pytest.mark.parametrize(
    ("stopped", "most", "says"),
    [
        ("the maximum of 7 seeds", 7, "Stopped at 7 of 7 seeds, the maximum: 1 of 1 comparison undecided."),
        ("--max-cells 20", 40, "Budget spent (--max-cells 20) after the look at 40 of 100 seeds"),
        ("", 40, "Interrupted after the look at 40 of 100 seeds"),
    ],
)
def test_the_report_says_why_it_stopped(stopped: str, most: int, says: str) -> None:
    scores = {"lora": draw(0, 0), "lorasp": draw(0, 1)}
    looks = Looks(5, 7) if most == 7 else Looks()
    past = tuple(look for look in run_looks(scores, looks) if look.seeds <= most)
    assert describe_stop(Question(auto=str(looks), looks=past, stopped=stopped)).startswith(says)


def test_before_the_first_look_nothing_is_decided() -> None:
    records = build_records({"lora": draw(0, 0), "lorasp": draw(3, 1)}, 4)
    question = Question(auto="auto:5..100", stopped="--max-cells 8")
    (judged,) = analyse(records, [], margin=1.0, question=question).judged
    assert judged.verdict.kind == "undecided" and judged.tests.adjusted_p is None
    assert "(--max-cells 8) before its first look" in judged.verdict.notes[0]
