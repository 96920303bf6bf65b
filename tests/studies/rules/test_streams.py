"""Spread over masks of made-up grids, with the bound against its closed form and its coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.core.record import Record
from harness.core.seeds import equal
from studies.answer import StudyRuns
from studies.rules.streams import (
    build_seed_grid,
    compute_beyond_p,
    compute_upper_sd,
    count_masks_needed,
    group_settings,
    judge,
)
from studies.study import load_study
from tests.reports.records import cell, record


def grid(mask_sd: float, init_sd: float, rest: float, seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    masks, inits = rng.normal(0, mask_sd, 5), rng.normal(0, init_sd, 5)
    return [
        record(
            70 + float(masks[m] + inits[i] + rng.normal(0, rest)),
            cell("rte", "lorasp", seeds=equal(0) | {"init": i, "mask": m}),
            ("rte",),
        )
        for i in range(5)
        for m in range(5)
    ]


@pytest.mark.parametrize(
    ("mask", "init", "rest", "kind"),
    [(0.1, 5.0, 0.2, "confirmed"), (16.0, 0.1, 0.5, "contradicted"), (1.5, 1.0, 3.0, "undecided")],
)
def test_known_truth(mask: float, init: float, rest: float, kind: str) -> None:
    found = judge(load_study("seed-sensitivity"), StudyRuns(grid(mask, init, rest), margin=2.0))
    assert found.kind == kind
    assert {row["varied"] for row in found.rows} == {"init", "mask", "rest"}


def test_a_hole_in_the_grid_is_undecided() -> None:
    records = grid(0.1, 5.0, 0.2)[:-1]
    assert build_seed_grid(records) is None
    assert judge(load_study("seed-sensitivity"), StudyRuns(records, margin=2.0)).kind == "undecided"


def test_runs_of_all_streams_are_told_apart() -> None:
    extra = [record(60.0 + i, cell("rte", "lorasp", i), ("rte",)) for i in range(1, 4)]
    found = build_seed_grid([*grid(1.0, 1.0, 1.0), *extra])
    assert found is not None and len(found.scores) == 25 and len(found.every) == 4


def test_upper_bound() -> None:
    values = [1.0, 2.0, 4.0, 5.0]
    wanted = math.sqrt(3 * np.var(values, ddof=1) / stats.chi2.ppf(0.05, 3))
    assert compute_upper_sd(values) == pytest.approx(wanted)
    assert compute_upper_sd([3.0]) is None and compute_upper_sd([3.0, 3.0, 3.0]) is None


def test_the_bound_covers() -> None:
    rng = np.random.default_rng(2)
    above = [(compute_upper_sd(rng.normal(0, 1.0, 5).tolist()) or 0.0) >= 1.0 for _ in range(4000)]
    assert 0.94 < np.mean(above) < 0.96


def test_a_spread_that_is_real_but_not_surely_above_the_margin_is_undecided() -> None:
    """Masks matter beyond doubt (F-test), and the estimate lies above the margin: that is not surely above it."""
    made = grid(2.2, 0.1, 0.05, seed=4)
    found = judge(load_study("seed-sensitivity"), StudyRuns(made, margin=2.0))
    (row,) = [row for row in found.rows if row["varied"] == "mask"]
    assert float(row["p"]) < 0.001 and float(row["sd"]) > 2.0
    assert found.kind == "undecided"


def test_spread_beyond_the_margin_against_chi_squared() -> None:
    """Without other noise the mean square over masks is chi-squared about the margin."""
    made = build_seed_grid(grid(3.0, 0.0, 0.0))
    assert made is not None
    means = [score for (init, _), score in made.scores.items() if init == 0]
    expected = stats.chi2.sf(4 * np.var(means, ddof=1) / 2.0**2, 4)
    assert compute_beyond_p(made, 2.0) == pytest.approx(expected, rel=1e-4)


def test_a_spread_at_the_margin_is_rarely_found_beyond_it() -> None:
    p = [compute_beyond_p(made, 1.0) for s in range(600) if (made := build_seed_grid(grid(1.0, 1.0, 1.0, seed=s)))]
    assert 0.02 < np.mean([value is not None and value < 0.05 for value in p]) < 0.08


@pytest.mark.parametrize("broken", [None, math.nan])
def test_a_cell_without_a_number_is_a_hole(broken: float | None) -> None:
    made = grid(8.0, 0.1, 0.5)
    made[7] = record(broken, made[7].cell, ("rte",))
    found = judge(load_study("seed-sensitivity"), StudyRuns(made, margin=2.0))
    assert found.kind == "undecided" and found.lacks and found.lacks in found.sentence


def test_one_mask_decides_nothing() -> None:
    made = [r for r in grid(0.1, 5.0, 0.2) if r.cell.seeds["mask"] == 0]
    assert judge(load_study("seed-sensitivity"), StudyRuns(made, margin=2.0)).kind == "undecided"


def test_scores_that_never_leave_the_constant_are_no_consistency() -> None:
    found = judge(load_study("seed-sensitivity"), StudyRuns(grid(0.0, 0.0, 0.0), margin=2.0))
    assert found.kind == "undecided" and "no bound" in found.sentence


def test_a_task_with_a_hole_leaves_the_others_open() -> None:
    other = [r.model_copy(update={"cell": r.cell.model_copy(update={"task": "sst2"})}) for r in grid(0.1, 5.0, 0.2)]
    other = [r.model_copy(update={"key": r.cell.key}) for r in other]
    assert (
        judge(load_study("seed-sensitivity"), StudyRuns([*grid(0.1, 5.0, 0.2), *other], margin=2.0)).kind == "confirmed"
    )
    found = judge(load_study("seed-sensitivity"), StudyRuns([*grid(0.1, 5.0, 0.2), *other[:-1]], margin=2.0))
    assert found.kind == "undecided" and "sst2" in found.sentence


def test_undecided_says_how_many_masks_it_would_take() -> None:
    found = judge(load_study("seed-sensitivity"), StudyRuns(grid(1.5, 1.0, 3.0), margin=2.0))
    assert "a bound below 2 points takes" in found.sentence
    assert count_masks_needed(3.0, 2.0) is None
    needed = count_masks_needed(1.0, 2.0)
    assert needed is not None
    bound = [math.sqrt((n - 1) / stats.chi2.ppf(0.05, n - 1)) for n in (needed - 1, needed)]
    assert bound[0] >= 2.0 > bound[1]


def test_learning_rates_of_one_task_are_grids_of_their_own() -> None:
    """In one grid the scores of the last rate would replace those of the others."""
    quiet, loud = grid(0.1, 3.0, 0.2), grid(6.0, 0.1, 0.2)
    loud = [
        record(r.scores["accuracy"], cell("rte", "lorasp", seeds=r.cell.seeds, protocol={"lr": 4e-3}), ("rte",))
        for r in loud
    ]
    found = judge(load_study("seed-sensitivity"), StudyRuns([*quiet, *loud], margin=2.0))
    names = list(found.parts)
    assert names == ["rte with lorasp at learning rate 0.001", "rte with lorasp at learning rate 0.004"]
    alone = [judge(load_study("seed-sensitivity"), StudyRuns(own, margin=2.0)) for own in (quiet, loud)]
    sds = {(row["task"], row["varied"]): row["sd"] for row in found.rows}
    for name, one in zip(names, alone, strict=True):
        assert {row["varied"]: row["sd"] for row in one.rows} == {v: sd for (n, v), sd in sds.items() if n == name}


def test_other_settings_of_one_task_have_names_of_their_own() -> None:
    records = [record(70.0, cell("rte", "lorasp", protocol={"batch_size": size}), ("rte",)) for size in (8, 16, 32)]
    names = list(group_settings(records))
    assert len(set(names)) == 3 and all(name.startswith("rte with lorasp") for name in names)
