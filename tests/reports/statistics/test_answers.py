"""The sentence that answers the declared question, for each verdict, and what must stand beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from harness.core.record import Record, Truncation
from reports.statistics.analysis import analyse
from reports.statistics.families import Question
from reports.statistics.ranking import Ranking
from tests.reports.records import cell, grid_of, record

TASKS = ("cola", "rte")
NOISE = np.array([0.1, -0.2, 0.0, 0.2, -0.1])
FIRST = np.array([70.0, 72.0, 71.0, 69.0, 73.0])
TRUTH: dict[str, tuple[float, float]] = {
    "lora": (0.0, 0.0),
    "better": (3.0, 1.0),
    "worse": (-3.0, 1.5),
    "equivalent": (0.0, 0.5),
    "non-inferior": (0.5, 9.0),
    "undecided": (0.2, 20.0),
}
"""Method, named after its verdict -> its mean difference to lora and the scale of its noise."""


def runs(methods: Sequence[str]) -> list[Record]:
    scores: dict[tuple[str, str], list[float | None]] = {
        (task, method): (FIRST + by + scale * np.roll(NOISE, shift)).tolist()
        for shift, task in enumerate(TASKS)
        for method in methods
        for by, scale in [TRUTH[method]]
    }
    return grid_of(scores, TASKS)


def rank(records: Sequence[Record], question: Question | None = None, margin: float | None = 1.0) -> Ranking:
    (ranking,) = analyse(records, [], margin=margin, question=question or Question()).rankings
    return ranking


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("better", "better is better than lora on the average of 2 tasks: +3.0 points (95 % interval "),
        ("worse", "worse is worse than lora on the average of 2 tasks: -3.0 points (95 % interval "),
        ("equivalent", "equivalent is equivalent to lora within 1 points on the average of 2 tasks where no run"),
        ("non-inferior", "non-inferior is not worse than lora by 1 points on the average of 2 tasks where no run"),
        ("undecided", "undecided shows no significant difference to lora on the average of 2 tasks: +0.2 points (95 "),
    ],
)
def test_one_comparison_is_told_with_its_numbers(method: str, answer: str) -> None:
    ranking = rank(runs(["lora", method]))
    assert ranking.answer.startswith(answer) and ranking.answer.count(".") <= 4
    verdict = f"{method} without collapses" if method in ("equivalent", "non-inferior") else method
    assert {row.method: row.verdict for row in ranking.rows} == {"lora": None, method: verdict}


def test_several_comparisons_are_counted_by_verdict() -> None:
    records = [*runs(list(TRUTH)), *(record(None, cell(task, "broken", s)) for task in TASKS for s in range(5))]
    assert rank(records).answer == (
        "Compared with lora on the average of 2 tasks: better is better; worse is worse; equivalent is "
        "equivalent within 1 point where no run collapses; non-inferior is not worse by 1 point where no run "
        "collapses; undecided shows no significant difference; broken has no verdict."
    )


def test_many_methods_of_one_verdict_are_counted() -> None:
    scores = {(t, f"m{i}"): (FIRST - 5 * (i > 0) + i * NOISE).tolist() for t in TASKS for i in range(6)}
    assert rank(grid_of(scores, TASKS)).answer == "Compared with m0 on the average of 2 tasks: 5 methods are worse."


def test_only_declared_comparisons_are_told() -> None:
    records = runs(["lora", "better", "worse"])
    assert rank(records, Question("worse vs lora")).answer.startswith("worse is worse than lora")
    both = rank(records, Question("worse vs lora, better vs worse")).answer
    assert both.count("; ") == 1 and "better is better than worse" in both
    alone = [r for r in records if r.cell.method != "better" or r.cell.seeds["init"] == 0]
    assert "; no verdict on better against worse" in rank(alone, Question("worse vs lora, better vs worse")).answer


@pytest.mark.parametrize(
    ("scores", "answer", "caveats"),
    [
        ([[70.0], [75.0]], "No verdict on b against a on cola: one paired seed has no spread.", ["One seed has no"]),
        ([[70.0, 71.0], [75.0, 76.0]], "all paired seeds give the same difference.", []),
        (
            [[70.0, 71.0], [75.0, None]],
            "No verdict on b against a on cola: 1 cell has no score.",
            ["1 cell has no score."],
        ),
        ([[None, None], [None, None]], "No run has a score.", ["4 cells have no score.", "The mean leaves out cola"]),
        ([[70.0, 71.0]], "Only a was run, so there is nothing to compare.", []),
    ],
)
def test_what_cannot_be_answered(scores: list[list[float | None]], answer: str, caveats: list[str]) -> None:
    named = {("cola", name): list(values) for name, values in zip("ab", scores, strict=False)}
    ranking = rank(grid_of(named, ["cola"]), margin=None)
    assert ranking.answer.endswith(answer) and len(ranking.caveats) == len(caveats)
    assert all(said.startswith(start) for said, start in zip(ranking.caveats, caveats, strict=True))


def test_no_common_seeds() -> None:
    records = [record(70.0, cell("rte", seed=s), ["rte"]) for s in range(3)]
    records += [record(60.0, cell("rte", "lorasp", seed=s), ["rte"]) for s in range(3, 6)]
    assert rank(records).answer.endswith("on rte: no two cells have the same seeds, data and scored rows.")


def test_a_question_declared_late_is_a_caveat() -> None:
    records = runs(["lora", "better"])
    assert rank(records, Question("better vs lora")).caveats == ()
    assert rank(records, Question("better vs lora", primary_late=True)).caveats == (
        "Post hoc: the primary comparisons were declared after there were results.",
    )
    assert rank(records, Question(collapse_margin=9.0, collapse_margin_late=True)).caveats == (
        "Post hoc: the margin of collapses was changed after there were results.",
    )


def test_rows_stand_by_their_means_and_those_without_one_last() -> None:
    records = [
        *(record(None, cell(t, "broken", s)) for t in TASKS for s in range(5)),
        *runs(["lora", "worse", "better"]),
    ]
    ranking = rank(records)
    assert [row.method for row in ranking.rows] == ["better", "lora", "worse", "broken"]
    assert ranking.rows[-1].mean is None and ranking.tasks == TASKS


def test_each_task_is_told_where_a_suite_has_no_average() -> None:
    records = [r.model_copy(update={"averages": {}}) for r in runs(["lora", "better", "worse"])]
    assert rank(records).answer == (
        "Compared with lora on cola: better is better; worse is worse. Compared with lora on rte: better is "
        "better; worse is worse."
    )


def test_seeds_that_one_method_lacks_are_a_caveat() -> None:
    """The paired difference is 3.0 and that of the means 2.0."""
    scores: dict[tuple[str, str], list[float | None]] = {("rte", "a"): [70.0, 71.0, 72.0], ("rte", "b"): [73.0, 74.1]}
    ranking = rank(grid_of(scores, ["rte"]))
    assert ranking.caveats == (
        "Differences are over the seeds that both methods have, so they may differ from those of the means.",
    )
    whole: dict[tuple[str, str], list[float | None]] = scores | {("rte", "b"): [73.0, 74.1, 75.0]}
    assert rank(grid_of(whole, ["rte"])).caveats == ()


def test_an_interval_without_0_that_is_lost_to_the_correction_is_a_caveat() -> None:
    base = np.array([70.0, 71.0, 72.0, 73.0])
    gaps = np.array([0.0, 1.0, 2.0, 3.0])
    p = stats.ttest_1samp(gaps + 1, 0.0).pvalue
    assert 0.025 < p < 0.05
    scores = {("rte", "a"): base, ("rte", "b"): base + gaps + 1, ("rte", "c"): base + np.array([0.5, -0.5, 0.4, -0.5])}
    ranking = rank(grid_of({place: values.tolist() for place, values in scores.items()}, ["rte"]), margin=None)
    assert ranking.caveats == (
        "1 interval excludes 0, which is no significant difference after Holm correction over 2 comparisons.",
    )


def test_many_truncated_rows_are_a_caveat_of_their_task() -> None:
    records = grid_of({(task, m): [70.0, 71.0, 73.0] for task in ("rte", "cola") for m in ("lora", "lorasp")}, ["rte"])
    total = {"train": 1000, "validation": 100}

    def cut(task: str, rows: int) -> list[Record]:
        truncation = Truncation(rows={"train": rows, "validation": 0}, total=total)
        return [r.model_copy(update={"truncation": truncation}) if r.cell.task == task else r for r in records]

    assert not any("truncated" in caveat for caveat in rank(cut("rte", 50)).caveats)
    (caveat,) = [caveat for caveat in rank(cut("rte", 920)).caveats if "truncated" in caveat]
    assert "rte" in caveat and "cola" not in caveat and "92 %" in caveat and "--max-length" in caveat
