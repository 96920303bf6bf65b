"""Each verdict with its sentence and notes, from records whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.core.record import Record
from reports.statistics.analysis import ComparisonResult, analyse
from reports.statistics.families import Question
from reports.statistics.verdicts import FEW_SEEDS, LATE_MARGIN, LATE_PRIMARY
from tests.reports.predicted import guesses, kept
from tests.reports.records import cell, grid_of, record

FIRST = [70.0, 72.0, 71.0, 69.0, 73.0]
NOISE = [0.1, -0.2, 0.0, 0.2, -0.1]


def _records(gaps: Sequence[float | None], first: Sequence[float] = FIRST) -> list[Record]:
    """lora and lorasp on rte, lorasp being above by `gaps`."""
    other = [None if gap is None else base + gap for base, gap in zip(first, gaps, strict=False)]
    return grid_of({("rte", "lora"): first[: len(gaps)], ("rte", "lorasp"): other}, ["rte"])


def _judged(records: Sequence[Record], margin: float | None = None, **options: Any) -> ComparisonResult:
    (one,) = analyse(records, options.pop("profiles", []), margin=margin, **options).judged
    return one


def _shift(by: float, spread: float = 1.0) -> list[float]:
    return [by + spread * noise for noise in NOISE]


@pytest.mark.parametrize(
    ("gaps", "margin", "kind", "sentence"),
    [
        (_shift(3), None, "better", "lorasp is better than lora on rte: +3.0 points (95 % interval +2.8 to +3.2)."),
        (_shift(-3), None, "worse", "lorasp is worse than lora on rte: -3.0 points (95 % interval -3.2 to -2.8)."),
        (
            _shift(0.0),
            1.0,
            "equivalent without collapses",
            "lorasp is equivalent to lora within 1 points on rte where no run collapses: +0.0 points (90 % interval "
            "-0.2 to +0.2).",
        ),
        (
            _shift(0.8, 5),
            1.0,
            "non-inferior without collapses",
            "lorasp is not worse than lora by 1 points on rte where no run collapses: +0.8 points (95 % interval -0.2 "
            "to +1.8).",
        ),
        (
            _shift(0.5, 9),
            None,
            "undecided",
            "lorasp shows no significant difference to lora on rte: +0.5 points (95 % interval -1.3 to +2.3).",
        ),
        ([2.0], None, "one seed", "No verdict on lorasp against lora on rte: one paired seed has no spread."),
        (
            [2.0] * 5,
            None,
            "no spread",
            "No verdict on lorasp against lora on rte: all paired seeds give the same difference.",
        ),
        (
            [0.1, None, -0.2, None, 0.2],
            1.0,
            "failed",
            "No verdict on lorasp against lora on rte: 2 cells have no score.",
        ),
        (
            [3.0, 3.1, 2.9, 3.0, math.nan],
            None,
            "failed",
            "No verdict on lorasp against lora on rte: 1 cell has no score.",
        ),
    ],
)
def test_each_kind_has_one_claim(gaps: list[float | None], margin: float | None, kind: str, sentence: str) -> None:
    found = _judged(_records(gaps), margin).verdict
    assert (found.kind, found.sentence) == (kind, sentence)


@pytest.mark.parametrize(
    ("gaps", "margin", "note"),
    [
        (_shift(0.3), 1.0, "The difference is smaller than the margin of 1 points."),
        (_shift(-0.3), 1.0, "The difference is smaller than the margin of 1 points."),
        (_shift(0.0), 1.0, FEW_SEEDS),
        ([0.1, None, -0.2, None, 0.2], 1.0, "3 of 5 paired seeds."),
        (_shift(3), None, "New examples are not in the interval: no folder of predictions was given."),
    ],
)
def test_notes_are_single_facts(gaps: list[float | None], margin: float | None, note: str) -> None:
    assert note in _judged(_records(gaps), margin).verdict.notes


def test_a_collapsed_run_refuses_equivalence_in_a_note() -> None:
    """The collapsed run is of a third method: seeds of the task do collapse."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 5)
    scores: dict[tuple[str, str], list[float | None]] = {
        ("rte", "lora"): [85.0, 84.0, 86.0, 85.5, 84.5],
        ("rte", "lorasp"): [85.0 + noise[0], 84.0 + noise[1], 86.0 + noise[2], 85.5 + noise[3], 84.5 + noise[4]],
        ("rte", "full"): [85.0, 84.0, 86.0, 85.5, 50.5],
    }
    found = analyse(grid_of(scores, ["rte"]), [], margin=1.0).judged[0].verdict
    assert found.kind == "undecided" and "No claim of equivalence: runs on rte collapsed." in found.notes


def test_intervals_of_sentences_are_scipys() -> None:
    """Equivalence shows the 90 % interval: the 95 % interval may reach beyond the margin where its tests do not."""
    values = [1.0, -0.2, 1.1, -0.1, 0.8, 0.1]
    found = _judged(_records(values, [*FIRST, 70.5]), 1.0)
    low, high = stats.t.interval(0.9, 5, np.mean(values), stats.sem(values))
    assert found.verdict.kind == "equivalent without collapses" and found.comparison.estimate is not None
    assert found.comparison.estimate.high > 1.0 > high
    assert found.verdict.sentence.endswith(f"(90 % interval {low:+.1f} to {high:+.1f}).")
    values = _shift(0.5, 9)
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert _judged(_records(values)).verdict.sentence.endswith(f"(95 % interval {low:+.1f} to {high:+.1f}).")


def test_long_reasons_of_failed_cells_are_cut_in_the_note() -> None:
    made = _records([0.1, None, -0.2, None, 0.2])
    made = [r.model_copy(update={"reason": "CUDA out of memory. " * 50}) if r.reason else r for r in made]
    found = _judged(made, 1.0).verdict
    assert "CUDA out of memory" in found.notes[0] and len(found.notes[0]) < 400 and len(found.sentence) < 100


def test_what_is_declared_late_says_so() -> None:
    records = _records(_shift(0.0))
    assert LATE_MARGIN in _judged(records, 1.0, late=True).verdict.notes
    assert LATE_MARGIN not in _judged(records, 1.0).verdict.notes
    late = Question(primary="lorasp vs lora", primary_late=True)
    assert LATE_PRIMARY in _judged(records, question=late).verdict.notes
    assert LATE_PRIMARY not in _judged(records, question=Question(primary="lorasp vs lora")).verdict.notes


def test_undecided_knows_what_these_seeds_can_show() -> None:
    """Against statsmodels: the detectable effect and the seeds for the difference seen."""
    from statsmodels.stats.power import TTestPower

    found = _judged(_records(_shift(0.5, 9)))
    spread = float(np.std(_shift(0.5, 9), ddof=1))
    assert found.tests.detectable == pytest.approx(TTestPower().solve_power(None, 5, 0.05, 0.8) * spread, rel=1e-3)
    assert found.tests.seeds_needed == math.ceil(TTestPower().solve_power(0.5 / spread, None, 0.05, 0.8))


def test_no_common_seeds() -> None:
    records = [record(70.0, cell("rte", seed=s), ["rte"]) for s in range(3)]
    records += [record(60.0, cell("rte", "lorasp", seed=s), ["rte"]) for s in range(3, 6)]
    found = _judged(records).verdict
    assert found.kind == "unpaired"
    assert found.sentence == (
        "No verdict on lorasp against lora on rte: no two cells have the same seeds, data and scored rows."
    )


def test_many_comparisons_need_more_than_one_interval() -> None:
    """One clear and nine null methods: p = 0.03 stands alone and falls among ten."""
    rng = np.random.default_rng(0)
    gaps = [1.0, 0.2, 1.6, 2.0, 0.5]
    alone = _judged(_records(gaps))
    assert alone.verdict.kind == "better" and alone.tests.p == alone.tests.adjusted_p
    extra = {("rte", f"other{i}"): (np.array(FIRST) + rng.normal(0, 2, 5)).tolist() for i in range(9)}
    scores = {("rte", "lora"): FIRST, ("rte", "lorasp"): [a + b for a, b in zip(FIRST, gaps, strict=True)]}
    found = analyse(grid_of(scores | extra, ["rte"]), []).judged[0]
    assert found.comparison.method == "lorasp" and found.tests.p == alone.tests.p
    assert found.tests.family == 10 and found.verdict.kind == "undecided"
    assert "The interval excludes 0, but not after correction over 10 comparisons (Holm)." in found.verdict.notes


def test_a_missing_task_is_named_and_a_failed_one_is_not_averaged_away() -> None:
    tasks = ["rte", "cola", "mrpc"]
    scores: dict[tuple[str, str], list[float | None]] = {
        ("rte", "lora"): [*FIRST],
        ("rte", "lorasp"): [f + g for f, g in zip(FIRST, _shift(3), strict=True)],
        ("cola", "lora"): [*FIRST],
        ("cola", "lorasp"): [f + g for f, g in zip(FIRST, _shift(3.1), strict=True)],
    }
    mean = analyse(grid_of(scores, tasks), []).judged[-1]
    assert mean.comparison.whole and mean.verdict.kind == "better"
    assert mean.comparison.place == "mean of 2 tasks" and mean.comparison.missing == {"mrpc": "not run"}
    scores["cola", "lorasp"] = [None] * 5
    mean = analyse(grid_of(scores, tasks), []).judged[-1]
    assert mean.verdict.kind == "failed" and mean.comparison.tasks == ("rte",)
    assert mean.verdict.sentence.endswith("5 cells have no score.")
    assert mean.verdict.notes[0].startswith("Without a score: lorasp on cola, seeds 0: ValueError: on purpose;")
    assert "The mean leaves out cola (no score from lorasp)." in mean.verdict.notes


def test_examples_count_where_predictions_are_kept(tmp_path: Path) -> None:
    """Five seeds that agree on 100 examples: sure for these examples, not for new ones."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 100)
    base = guesses(rng, targets, 0.7)
    better = np.where((base != targets) & (rng.random(100) < 0.12), targets, base)
    records = []
    for seed in range(5):
        for method, said in (("lora", base), ("lorasp", better)):
            one = said.copy()
            flip = rng.integers(0, 100, 2)
            one[flip] = 1 - one[flip]
            records.append(kept(tmp_path, one, targets, method=method, seed=seed))
    without = _judged(records)
    found = _judged(records, cells=tmp_path)
    assert without.comparison.target == "new seeds, these examples"
    assert any("no folder of predictions" in note for note in without.verdict.notes)
    assert found.comparison.target == "new seeds and new examples"
    assert not any("New examples" in note for note in found.verdict.notes)
    assert found.comparison.estimate is not None and without.comparison.estimate is not None
    assert found.comparison.estimate.se > without.comparison.estimate.se
    assert found.comparison.seeds == without.comparison.estimate


def test_seeds_that_one_method_lacks_are_counted() -> None:
    records = grid_of({("rte", "lora"): FIRST, ("rte", "lorasp"): [73.1, 74.9, 74.2]}, ["rte"])
    assert "3 of 5 paired seeds." in _judged(records).verdict.notes
    assert not any("paired seeds" in note for note in _judged(_records(_shift(3))).verdict.notes)


def test_tasks_that_share_no_seeds_are_not_said_to_have_no_pairs() -> None:
    """Five seeds a task: their variances add, and one more seed is one more on each task."""
    gaps = [0.5, -1.0, 2.0, 1.5, -0.5]
    records = [
        record(70.0 + n + (gaps[n] if method == "lorasp" else 0.0), cell(task, method, n + start), ["cola", "rte"])
        for task, start in (("cola", 0), ("rte", 5))
        for method in ("lora", "lorasp")
        for n in range(5)
    ]
    found = {j.comparison.place: j for j in analyse(records, []).judged}["average of 2 tasks"]
    assert found.comparison.counted == "seeds paired on each task, not over all of them"
    assert found.comparison.noise is not None
    assert found.comparison.noise.seed_variance == pytest.approx(np.var(gaps, ddof=1) / 2)
