"""Each sentence, from records whose truth is known."""

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
from tests.reports.predicted import guesses, kept
from tests.reports.records import cell, grid_of, profile, record

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
    ("gaps", "margin", "kind", "says"),
    [
        (_shift(3), None, "better", "lorasp is better than lora on rte: +3.0 points (95 % interval +2.8 to +3.2"),
        (_shift(-3), None, "worse", "lorasp is worse than lora on rte: -3.0 points"),
        (_shift(0.3), 1.0, "better", "The difference is smaller than the margin of 1 points."),
        (_shift(-0.3), 1.0, "worse", "The difference is smaller than the margin of 1 points."),
        (_shift(0.0), 1.0, "equivalent", "lorasp and lora on rte are equivalent within the margin of 1 points: +0.0"),
        (_shift(0.8, 5), 1.0, "non-inferior", "lorasp is not worse than lora on rte by the margin of 1 points: +0.8"),
        (_shift(0.5, 9), None, "undecided", "no significant difference (equivalence not shown): +0.5 points"),
        (_shift(0.5, 9), None, "undecided", "No margin was named (--margin), so equivalence was not tested."),
        (_shift(-0.5, 9), 1.0, "undecided", "seeds needed for 1.0 points: "),
        ([2.0], None, "one seed", "a difference of +2.0 points with one paired seed, and one value has no spread"),
        ([2.0] * 5, None, "no spread", "+2.0 points with each of 5 paired seeds; without spread there is no interval."),
        (
            [0.1, None, -0.2, None, 0.2],
            1.0,
            "failed",
            "2 cells failed (lorasp on rte, seeds 1: ValueError: on purpose;",
        ),
        ([0.1, None, -0.2, None, 0.2], 1.0, "failed", "The 3 of 5 pairs that have a score differ by +0.0 points."),
        ([3.0, 3.1, 2.9, 3.0, math.nan], None, "failed", "lorasp on rte, seeds 4: its score is not a number"),
    ],
)
def test_sentences(gaps: list[float | None], margin: float | None, kind: str, says: str) -> None:
    found = _judged(_records(gaps), margin).verdict
    assert found.kind == kind and says in found.sentence, found.sentence
    if kind not in ("equivalent", "better", "worse", "non-inferior"):
        assert "are equivalent" not in found.sentence and "is better" not in found.sentence


def test_equivalence_shows_the_interval_that_its_tests_go_by() -> None:
    """The 95 % interval may reach beyond the margin where two one-sided tests of 5 % do not: both are shown."""
    values = [1.0, -0.2, 1.1, -0.1, 0.8, 0.1]
    found = _judged(_records(values, [*FIRST, 70.5]), 1.0)
    low, high = stats.t.interval(0.9, 5, np.mean(values), stats.sem(values))
    assert found.verdict.kind == "equivalent" and found.comparison.estimate is not None
    assert found.comparison.estimate.high > 1.0 > high
    assert f"90 % interval {low:+.1f} to {high:+.1f}, 95 % interval" in found.verdict.sentence


def test_power_is_said_to_be_that_of_one_test_where_there_are_several() -> None:
    gaps = _shift(0.5, 9)
    one = _judged(_records(gaps)).verdict.sentence
    several = grid_of(
        {
            (task, m): [b + g for b, g in zip(FIRST, own, strict=True)]
            for task in ("rte", "cola")
            for m, own in (("lora", [0.0] * 5), ("lorasp", gaps))
        },
        ["rte", "cola"],
    )
    assert "Holm needs more" not in one
    found = [j.verdict for j in analyse(several, []).judged]
    assert all("(for one test; Holm needs more)." in v.sentence for v in found if v.kind == "undecided") and found


def test_long_reasons_of_failed_cells_are_cut_in_the_sentence() -> None:
    made = _records([0.1, None, -0.2, None, 0.2])
    made = [r.model_copy(update={"reason": "CUDA out of memory. " * 50}) if r.reason else r for r in made]
    found = _judged(made, 1.0).verdict
    assert found.kind == "failed" and "CUDA out of memory" in found.sentence and len(found.sentence) < 500


def test_a_margin_named_late_says_so() -> None:
    assert "after there were results" in _judged(_records(_shift(0.0)), 1.0, late=True).verdict.sentence
    assert "after there were results" not in _judged(_records(_shift(0.0)), 1.0).verdict.sentence


def test_undecided_names_what_these_seeds_can_show() -> None:
    """Against statsmodels: the detectable effect and the seeds for the difference seen."""
    from statsmodels.stats.power import TTestPower

    found = _judged(_records(_shift(0.5, 9)))
    spread = float(np.std(_shift(0.5, 9), ddof=1))
    assert found.tests.detectable == pytest.approx(TTestPower().solve_power(None, 5, 0.05, 0.8) * spread, rel=1e-3)
    needed = math.ceil(TTestPower().solve_power(0.5 / spread, None, 0.05, 0.8))
    assert found.tests.seeds_needed == needed and f"seeds needed for 0.50 points: {needed} (" in found.verdict.sentence


def test_no_common_seeds() -> None:
    records = [record(70.0, cell("rte", seed=s), ["rte"]) for s in range(3)]
    records += [record(60.0, cell("rte", "lorasp", seed=s), ["rte"]) for s in range(3, 6)]
    found = _judged(records).verdict
    assert found.kind == "unpaired" and "no two cells have the same seeds" in found.sentence


def test_many_comparisons_need_more_than_one_interval() -> None:
    """One clear and nine null methods: p = 0.03 stands alone and falls among ten."""
    rng = np.random.default_rng(0)
    gaps = [1.0, 0.2, 1.6, 2.0, 0.5]
    alone = _judged(_records(gaps))
    assert alone.verdict.kind == "better" and alone.tests.p == alone.tests.holm
    extra = {("rte", f"other{i}"): (np.array(FIRST) + rng.normal(0, 2, 5)).tolist() for i in range(9)}
    scores = {("rte", "lora"): FIRST, ("rte", "lorasp"): [a + b for a, b in zip(FIRST, gaps, strict=True)]}
    found = analyse(grid_of(scores | extra, ["rte"]), []).judged[0]
    assert found.comparison.method == "lorasp" and found.tests.p == alone.tests.p
    assert found.tests.family == 10 and found.verdict.kind == "undecided"
    assert "By itself the interval excludes 0; among 10 comparisons that is not enough." in found.verdict.sentence


def test_saving_is_told() -> None:
    profiles = [profile("lora", peak_bytes=4 * 2**20), profile("lorasp", seconds=[0.4, 0.4, 0.4])]
    found = _judged(_records(_shift(3)), profiles=profiles).verdict.sentence
    assert (
        "peaks at 3.00 MiB of memory, profiled in isolation (lora: 4.00 MiB)" in found
        and "is 0.50\N{MULTIPLICATION SIGN} as fast as lora" in found
    )
    assert "trains 1,024 parameters, head excluded (lora: 1,024)" in found


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
    assert "The mean is over rte, cola only (mrpc: not run)." in mean.verdict.sentence
    scores["cola", "lorasp"] = [None] * 5
    mean = analyse(grid_of(scores, tasks), []).judged[-1]
    assert mean.verdict.kind == "failed" and mean.comparison.tasks == ("rte",)
    assert "5 cells failed (lorasp on cola, seeds 0: ValueError: on purpose" in mean.verdict.sentence


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
    assert (
        without.comparison.target == "new seeds, these examples"
        and "no folder of predictions" in without.verdict.sentence
    )
    assert (
        found.comparison.target == "new seeds and new examples"
        and "new seeds and new examples" in found.verdict.sentence
    )
    assert found.comparison.estimate is not None and without.comparison.estimate is not None
    assert found.comparison.estimate.se > without.comparison.estimate.se
    assert found.comparison.seeds == without.comparison.estimate


def test_seeds_that_one_method_lacks_are_counted() -> None:
    records = grid_of({("rte", "lora"): FIRST, ("rte", "lorasp"): [73.1, 74.9, 74.2]}, ["rte"])
    assert "3 of 5 paired seeds" in _judged(records).verdict.sentence
    assert "; 5 paired seeds" in _judged(_records(_shift(3))).verdict.sentence


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
    assert "seeds paired on each task, not over all of them" in found.verdict.sentence
    assert found.comparison.noise is not None
    assert found.comparison.noise.seed_variance == pytest.approx(np.var(gaps, ddof=1) / 2)
