"""Comparisons of made-up records whose truth is known."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from statsmodels.stats.multitest import multipletests

from reports.statistics.analysis import analyse
from reports.statistics.student import Student
from studies.answer import StudyRuns
from studies.rules.compared import judge
from studies.study import load_study
from tests.reports.records import grid_of

NOISE = (0.3, -0.2, 0.1, -0.3, 0.1)


def seen(scores: dict[str, float], margin: float = 1.0, tasks: tuple[str, ...] = ("rte",)) -> StudyRuns:
    """Methods with a true mean each; noise grows from one to the next so that pairs have spread."""
    made: dict[tuple[str, str], list[float | None]] = {}
    for task in tasks:
        for place, (method, mean) in enumerate(scores.items()):
            made[task, method] = [mean + (place + 1) * n for n in NOISE]
    records = grid_of(made, tasks)
    return StudyRuns(records, (), analyse(records, (), margin=margin), margin)


@pytest.mark.parametrize(("lorasp", "kind"), [(80.0, "confirmed"), (70.0, "contradicted"), (79.1, "undecided")])
def test_parity(lorasp: float, kind: str) -> None:
    found = judge(load_study("parity"), seen({"full": 80.0, "lorasp": lorasp}))
    assert found.kind == kind
    assert found.parts["lorasp against full"].kind == kind and len(found.rows) == 1


def test_parity_is_not_decided_by_lora() -> None:
    found = judge(load_study("parity"), seen({"full": 80.0, "lorasp": 80.0, "lora": 90.0}))
    assert found.kind == "confirmed"
    assert found.parts["lorasp against lora"].kind == "contradicted"


def test_verdict_and_report_correct_the_same_comparison_alike() -> None:
    """One family: all comparisons of the report. Many more of them turn a verdict that two alone would give."""
    others = {f"other{i}": 81.0 + 0.5 * i for i in range(8)}
    study, kinds = load_study("parity"), []
    for margin in (0.5, 0.7, 0.9, 1.1, 1.3, 1.6, 2.0):
        made = seen({"full": 80.0, "lorasp": 79.6} | others, margin)
        p = multipletests([e.p_above(-margin) for e in estimates(made)], method="holm")[1]
        found = judge(study, made)
        assert made.analysis is not None
        assert made.analysis.judged[0].tests.non_inferiority_p == pytest.approx(p[0])
        assert (found.kind == "confirmed") == (p[0] < 0.025)
        kinds.append(found.kind)
    assert {"confirmed", "undecided"} <= set(kinds)
    assert "Holm over all 9 comparisons" in found.notes[0]


def estimates(made: StudyRuns) -> list[Student]:
    assert made.analysis is not None
    return [j.comparison.estimate for j in made.analysis.judged if j.comparison.estimate and not j.comparison.whole]


def test_the_run_that_the_records_are_a_part_of_counts_too() -> None:
    pair = {"full": 80.0, "lorasp": 79.35}
    alone = seen(pair)
    whole = seen(pair | {f"other{i}": 80.0 for i in range(30)}).analysis
    assert judge(load_study("parity"), alone).kind == "confirmed"
    assert judge(load_study("parity"), dataclasses.replace(alone, run=whole)).kind == "undecided"


def test_one_better_strategy_contradicts() -> None:
    study, margin = load_study("strategies"), 2.0
    assert judge(study, seen({"lorasp": 80.0, "row": 80.0}, margin)).kind == "confirmed"
    found = judge(study, seen({"lorasp": 80.0, "row": 80.0, "layer": 90.0}, margin))
    assert found.kind == "contradicted" and "layer" in found.sentence
    assert [row["verdict"] for row in found.rows] == ["confirmed", "contradicted"]


def test_the_mean_over_several_tasks_decides() -> None:
    found = judge(load_study("strategies"), seen({"lorasp": 80.0, "row": 80.0}, 2.0, ("cola", "rte")))
    assert [row["on"] for row in found.rows] == ["average of 2 tasks"]


def test_a_task_that_one_method_lacks_decides_nothing() -> None:
    """lorasp was never run on cola, where it might have lost; what head lacks is no matter of the two."""
    scores = {(t, m): [80.0 + n for n in NOISE] for t in ("cola", "rte", "sst2") for m in ("full", "lorasp", "head")}
    scores |= {(t, "lorasp"): [80.1 + 2 * n for n in NOISE] for t in ("cola", "rte", "sst2")}

    def kind(*lacking: tuple[str, str]) -> str:
        made: dict[tuple[str, str], list[float | None]] = {p: list(v) for p, v in scores.items() if p not in lacking}
        records = grid_of(made, ("cola", "rte", "sst2"))
        found = judge(load_study("parity"), StudyRuns(records, (), analyse(records, (), margin=2.0), 2.0))
        return found.parts["lorasp against full"].kind

    assert kind() == kind(("cola", "head")) == "confirmed"
    assert kind(("cola", "lorasp")) == "undecided"


def test_failed_cells_decide_nothing() -> None:
    records = grid_of({("rte", "full"): [80.0, 81.0, 80.5], ("rte", "lorasp"): [80.1, 81.3, None]}, ("rte",))
    found = judge(load_study("parity"), StudyRuns(records, (), analyse(records, (), margin=5.0), 5.0))
    assert found.kind == "undecided" and "1 cell failed" in found.sentence


def test_one_seed_decides_nothing() -> None:
    records = grid_of({("rte", "full"): [80.0], ("rte", "lorasp"): [80.0]}, ("rte",))
    found: Any = judge(load_study("parity"), StudyRuns(records, (), analyse(records, (), margin=1.0), 1.0))
    assert found.kind == "undecided"


def gathered(made: dict[tuple[str, str], list[float | None]], tasks: tuple[str, ...], margin: float = 1.0) -> StudyRuns:
    records = grid_of(made, tasks)
    return StudyRuns(records, (), analyse(records, (), margin=margin), margin)


def test_better_is_not_worse() -> None:
    found = judge(load_study("parity"), seen({"full": 80.0, "lorasp": 90.0}))
    assert found.kind == "confirmed" and "equal" not in found.sentence


@pytest.mark.parametrize("mean", [80.0, 79.5, 82.0])
def test_a_wide_interval_is_never_equality(mean: float) -> None:
    """Not significant (p above 0.3), and nothing is confirmed: the sentence says what it would take."""
    noise = (9.0, -8.0, 7.0, -9.0, 1.0)
    made: dict[tuple[str, str], list[float | None]] = {("rte", "full"): [80.0 + n for n in NOISE]}
    made["rte", "lorasp"] = [mean + n for n in noise]
    found = judge(load_study("parity"), gathered(made, ("rte",)))
    assert found.kind == "undecided" and "worse" in found.sentence
    assert "seeds needed for 1.0 points" in found.sentence
    assert not any(word in found.sentence for word in ("equal", "equivalent", "significantly", "same"))


def test_power_is_reported_only_where_nothing_was_decided() -> None:
    part = judge(load_study("parity"), seen({"full": 80.0, "lorasp": 80.0})).parts["lorasp against full"]
    assert part.power and part.summary == part.sentence


def test_seeds_needed_confirm_four_times_in_five() -> None:
    """What the sentence promises, by simulation: that many seeds of the same spread, no true difference."""
    import numpy as np

    from reports.statistics.student import estimate_mean
    from studies.rules.margins import describe_estimate_power, judge_estimates

    rng = np.random.default_rng(0)
    first = estimate_mean([2.0, -1.0, 0.5, 1.0, -2.0])
    needed = int(describe_estimate_power(first, 1.0).rpartition("points: ")[2].split()[0])
    spread = float(np.std([2.0, -1.0, 0.5, 1.0, -2.0], ddof=1))
    kinds = [
        judge_estimates([estimate_mean(rng.normal(0, spread, needed).tolist())], 1.0, "not worse")[0]
        for _ in range(1000)
    ]
    assert 0.77 < kinds.count("confirmed") / 1000 < 0.84


@pytest.mark.parametrize("broken", [None, math.nan])
def test_a_cell_without_a_number_decides_nothing(broken: float | None) -> None:
    made: dict[tuple[str, str], list[float | None]] = {("rte", "full"): [80.0 + n for n in NOISE]}
    made["rte", "lorasp"] = [*[60.0 + 2 * n for n in NOISE[:4]], broken]
    found = judge(load_study("parity"), gathered(made, ("rte",)))
    assert found.kind == "undecided" and "1 cell failed" in found.sentence


def test_a_task_that_a_method_lacks_is_told() -> None:
    made: dict[tuple[str, str], list[float | None]] = {}
    for place, (task, method) in enumerate(
        [("rte", "lorasp:ratio=1.0"), ("sst2", "lorasp:ratio=1.0"), ("rte", "lorasp"), ("rte", "x"), ("sst2", "x")]
    ):
        made[task, method] = [80.0 + (place + 1) * n for n in NOISE]
    found = judge(load_study("ratio"), gathered(made, ("rte", "sst2"), 2.0))
    assert "(sst2: no score from lorasp)" in found.sentence and "mean of 1 task" in found.sentence


def test_no_comparison_says_what_it_lacks() -> None:
    found = judge(
        load_study("parity"), gathered({("rte", "lora"): [80.0, 81.0], ("rte", "lorasp"): [80.0, 82.0]}, ("rte",))
    )
    assert found.kind == "undecided" and found.lacks and found.lacks in found.sentence
    assert set(found.parts) == {"lorasp against lora"}


def test_scores_without_spread_decide_nothing() -> None:
    found = judge(
        load_study("parity"), gathered({("rte", "full"): [50.0] * 5, ("rte", "lorasp"): [50.0] * 5}, ("rte",))
    )
    assert found.kind == "undecided" and "no interval on rte, 5 paired seeds" in found.sentence
