"""Every strategy: exact counts in its scope, its own shape, and the same again; bad ones are named."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.errors import CellFailed, NotApplicable, UserError
from harness.core.method import METHODS, STRATEGIES, InputStatistics, Masks, Scope, Site, Strategy
from harness.core.seeds import Streams, equal
from methods.masks import build_masks, compute_trained_ratio, count_share, select_highest
from methods.selection.scored import compute_shares

SITES = [
    Site("0.q", 12, 8, 4, 0, "0"),
    Site("0.v", 12, 8, 4, 0, "0"),
    Site("1.q", 7, 3, 3, 1, "1"),
    Site("2.q", 9, 9, 5, 2, "2"),
]


def scores_for(sites: Sequence[Site], seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {s.name: (rng.random(s.shapes[0]), rng.random(s.shapes[1])) for s in sites}


def requested_for(strategy: Strategy, sites: Sequence[Site], seed: int = 0) -> dict[str, Any]:
    """Random values of what a strategy requests; B starts at zero."""
    rng = np.random.default_rng(seed)
    values = {
        "starts": {s.name: (rng.standard_normal(s.shapes[0]), np.zeros(s.shapes[1])) for s in sites},
        "weights": {s.name: rng.standard_normal((s.d_out, s.d_in)) for s in sites},
        "inputs": {s.name: InputStatistics(5, rng.random(s.d_in), rng.random(s.d_in)) for s in sites},
    }
    return {name: values[name] for name in strategy.requests}


def masks_of(name: str, ratio: float, seed: int = 0, scope: Scope | None = None) -> Masks:
    strategy = STRATEGIES.get(name)
    scores, requested = scores_for(SITES) if strategy.scores else None, requested_for(strategy, SITES)
    scope = scope or strategy.scope
    return build_masks(strategy, SITES, ratio, scope, Streams(equal(seed)), scores, requested=requested)


def total(masks: Masks) -> int:
    return sum(int(a.sum() + b.sum()) for a, b in masks.values())


@pytest.mark.parametrize("scope", ["matrix", "pair", "model"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("name", [n for n in STRATEGIES.names() if STRATEGIES.get(n).unit == "entry"])
def test_exactly_the_share_in_each_scope(name: str, ratio: float, scope: Scope) -> None:
    if STRATEGIES.get(name).twins and ratio != 0.5:
        with pytest.raises(UserError, match="ratio=") as caught:
            METHODS.get("lorasp")(select=name, ratio=ratio).check()
        assert "0.5" in str(caught.value)
        return
    masks = masks_of(name, ratio, scope=scope)
    assert all(
        m.dtype == bool and m.shape == shape for s in SITES for m, shape in zip(masks[s.name], s.shapes, strict=True)
    )
    sizes = [a * b for s in SITES for a, b in s.shapes]
    if scope == "model":
        assert total(masks) == round(ratio * sum(sizes))
    for s in SITES:
        counts, full = [int(m.sum()) for m in masks[s.name]], [a * b for a, b in s.shapes]
        if scope == "matrix":
            assert counts == [round(ratio * n) for n in full]
        if scope == "pair":
            assert sum(counts) == round(ratio * sum(full))


def lines(name: str, mask: np.ndarray, part: int) -> np.ndarray:
    """Means of what must train as a whole in A (part 0) or B."""
    by_row = {"row": (1, 1), "column": (0, 0), "rank": (1, 0), "magnitude": (0, 1), "wanda": (0, 1)}[name]
    return np.asarray(mask.mean(by_row[part]))


ODD = [Site("q", 12, 8, 5, 0), Site("v", 7, 9, 5, 0), Site("k", 16, 4, 1, 1)]


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.61, 1.0])
@pytest.mark.parametrize("name", ["row", "column", "rank", "magnitude", "wanda"])
def test_lines_stay_whole_and_come_nearest_to_the_ratio(name: str, ratio: float) -> None:
    sites = ODD if name in ("magnitude", "wanda", "column") else ODD[:2]
    strategy = STRATEGIES.get(name)
    scores = scores_for(sites) if strategy.scores else None
    if scores is not None:  # norms of inputs and outputs, as methods/calibration.py gives them
        scores = {n: (np.tile(a[:1], (len(a), 1)), np.tile(b[:, :1], (1, b.shape[1]))) for n, (a, b) in scores.items()}
    for s in sites:
        if name == "column" and s.rank == 1:
            continue
        own, requested = {s.name: scores[s.name]} if scores else None, requested_for(strategy, [s])
        masks = build_masks(strategy, [s], ratio, "matrix", Streams(equal(1)), own, requested=requested)
        for part in (0, 1):
            means = lines(name, masks[s.name][part], part)
            assert set(means) <= {0.0, 1.0}
            want = ratio * len(means)
            assert abs(means.sum() - want) <= 0.5 and means.sum() == math.ceil(want - 0.5 - 1e-9)
        if name == "rank":
            assert (masks[s.name][0].any(1) == masks[s.name][1].any(0)).all()


@pytest.mark.parametrize("scope", ["pair", "model"])
@pytest.mark.parametrize("name", ["row", "column", "rank", "random"])
def test_in_a_scope_of_several_matrices_each_trains(name: str, scope: Scope) -> None:
    """B is larger than A: numbers up to each matrix's own size would let B alone train."""
    sites = [Site("q", 8, 40, 5, 0), Site("v", 8, 32, 5, 1)]
    masks = build_masks(STRATEGIES.get(name), sites, 0.5, scope, Streams(equal(3)), None)
    for pair in masks.values():
        assert all(0 < m.sum() < m.size for m in pair) or name == "rank"
    sizes = [m.size for pair in masks.values() for m in pair]
    assert abs(total(masks) - sum(sizes) / 2) <= len(sites) * (
        max(sum(m.size for m in pair) for pair in masks.values()) / 5 / 2 + 1
    )
    if name == "rank":
        assert all((a.any(1) == b.any(0)).all() and set(a.mean(1)) <= {0.0, 1.0} for a, b in masks.values())


@pytest.mark.parametrize("name", ["layer", "module", "criticality"])
@pytest.mark.parametrize(
    ("layers", "ratio", "train"), [(3, 0.5, 1), (5, 0.5, 2), (4, 0.5, 2), (3, 0.6, 2), (5, 1.0, 5)]
)
def test_blocks_stay_whole_for_an_odd_number_of_layers(name: str, layers: int, ratio: float, train: int) -> None:
    sites = [Site(f"{i}", 6, 6, 3, i) for i in range(layers)]
    strategy = STRATEGIES.get(name)
    flat = {s.name: tuple(np.ones(shape) for shape in s.shapes) for s in sites}  # ties between layers
    masks = build_masks(strategy, sites, ratio, "model", Streams(equal(1)), flat if strategy.scores else None)  # type: ignore[arg-type]
    means = [float(np.concatenate([m.ravel() for m in masks[s.name]]).mean()) for s in sites]
    assert set(means) <= {0.0, 1.0} and sum(means) == train
    assert compute_trained_ratio(masks) == pytest.approx(train / layers)


def test_one_matrix_of_each_site_trains_whatever_its_size() -> None:
    for site in (Site("up", 4, 40, 3, 0), Site("down", 40, 4, 3, 0)):
        for name, part in (("a-only", 0), ("b-only", 1)):
            masks = build_masks(STRATEGIES.get(name), [site], 0.5, "pair", Streams(equal(0)), None)
            assert masks[site.name][part].all() and not masks[site.name][1 - part].any()
    for options in ({"ratio": 0.25}, {"scope": "matrix"}):
        with pytest.raises(NotApplicable, match="a-only"):
            METHODS.get("lorasp")(select="a-only", **options).check()


@pytest.mark.parametrize(("name", "ratio"), [("rank", 0.5), ("row", 0.1), ("layer", 0.1), ("magnitude", 0.01)])
def test_a_ratio_that_leaves_no_whole_line_is_refused(name: str, ratio: float) -> None:
    sites = [Site("q", 6, 6, 1, 0)]
    strategy = STRATEGIES.get(name)
    with pytest.raises(UserError, match=f"ratio={ratio}"):
        build_masks(
            strategy, sites, ratio, strategy.scope, Streams(equal(0)), scores_for(sites) if strategy.scores else None
        )


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_the_mask_stream_alone_decides(name: str) -> None:
    first = masks_of(name, 0.5, seed=2)
    np.random.seed(1)
    torch.manual_seed(1)
    again = masks_of(name, 0.5, seed=2)
    assert all((x == y).all() for s in SITES for x, y in zip(first[s.name], again[s.name], strict=True))
    drawn = not STRATEGIES.get(name).reads_model and name not in ("a-only", "b-only")
    others = [masks_of(name, 0.5, seed=seed) for seed in (4, 6, 8)]
    differs = any((x != y).any() for o in others for s in SITES for x, y in zip(first[s.name], o[s.name], strict=True))
    assert differs == (drawn or name == "learned-ratio")


def test_rows_columns_and_ranks_are_whole() -> None:
    row, column, rank = (masks_of(name, 0.5)["0.q"] for name in ("row", "column", "rank"))
    assert set(row[0].mean(1)) == {0.0, 1.0} and set(row[1].mean(1)) == {0.0, 1.0}
    assert set(column[0].mean(0)) == {0.0, 1.0} and set(column[1].mean(0)) == {0.0, 1.0}
    assert set(rank[0].mean(1)) == {0.0, 1.0} and (rank[0].any(1) == rank[1].any(0)).all()


def test_columns_are_shared_by_sites_that_read_the_same_input() -> None:
    masks = masks_of("column", 0.5)
    assert (masks["0.q"][0] == masks["0.v"][0]).all()


def test_layers_and_modules_are_whole() -> None:
    for name, block in (("layer", lambda s: s.layer), ("module", lambda s: s.name)):
        masks = masks_of(name, 0.5)
        parts: dict[Any, list[np.ndarray]] = {}
        for s in SITES:
            parts.setdefault(block(s), []).extend(m.ravel() for m in masks[s.name])
        means = [float(np.concatenate(p).mean()) for p in parts.values()]
        assert set(means) == {0.0, 1.0}


def test_twins_complete_each_other() -> None:
    even, odd = masks_of("complementary", 0.5, seed=4), masks_of("complementary", 0.5, seed=5)
    assert all((x != y).all() for s in SITES for x, y in zip(even[s.name], odd[s.name], strict=True))


def test_scored_strategies_take_the_highest() -> None:
    masks, scores = masks_of("snip", 0.25), scores_for(SITES)
    for s in SITES:
        for mask, score in zip(masks[s.name], scores[s.name], strict=True):
            assert score[mask].min() > score[~mask].max()


def test_learned_ratio_follows_the_layers_and_criticality_takes_the_best() -> None:
    scores = {s.name: tuple(np.full(shape, float(s.layer == 1) + 0.5) for shape in s.shapes) for s in SITES}
    made = {}
    for name in ("learned-ratio", "criticality"):
        strategy = STRATEGIES.get(name)
        masks = build_masks(strategy, SITES, 0.4, "model", Streams(equal(0)), scores)  # type: ignore[arg-type]
        made[name] = {s.name: np.concatenate([m.ravel() for m in masks[s.name]]).mean() for s in SITES}
    assert made["criticality"]["1.q"] == 1.0
    assert made["learned-ratio"]["1.q"] > 1.8 * made["learned-ratio"]["0.q"] > 0


def test_shares_have_the_mean_and_none_is_above_one() -> None:
    found = compute_shares({0: 10.0, 1: 1.0, 2: 1.0}, 0.5)
    assert found == {0: 1.0, 1: pytest.approx(0.25), 2: pytest.approx(0.25)}
    assert compute_shares({0: 0.0, 1: 0.0}, 0.5) == {0: 0.5, 1: 0.5}
    assert compute_shares({0: 2.0, 1: 1.0}, 1.0) == {0: 1.0, 1: 1.0}


def test_ties_fall_in_row_major_order() -> None:
    site = Site("s", 3, 2, 2, 0)
    masks = select_highest({"s": (np.zeros((2, 3)), np.zeros((2, 2)))}, [site], 0.5, "matrix")
    assert masks["s"][0].tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("distinct", [1, 3, 10**6])
@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.999, 1.0])
def test_single_entries_are_those_of_a_stable_sort(distinct: int, ratio: float) -> None:
    site = Site("s", 30, 7, 4, 0)
    numbers = [np.random.default_rng(0).integers(-distinct, distinct, shape) / 7 for shape in site.shapes]
    masks = select_highest({"s": (numbers[0], numbers[1])}, [site], ratio, "pair")
    flat = np.concatenate([matrix.ravel() for matrix in numbers])
    sorted_numbers = np.argsort(-flat, kind="stable")[: round(ratio * flat.size)]
    chosen = np.concatenate([mask.ravel() for mask in masks["s"]])
    assert np.flatnonzero(chosen).tolist() == sorted(sorted_numbers.tolist())


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (lambda s: {}, "gives nothing for site 0.q"),
        (lambda s: {x.name: (np.zeros((2, 2)), np.zeros((2, 2))) for x in s}, "gives shapes"),
        (lambda s: {x.name: tuple(np.full(n, np.nan) for n in x.shapes) for x in s}, "gives NaN"),
        (lambda s: None, "returns NoneType; wanted: a mapping"),
        (lambda s: {x.name: tuple(np.full(n, 1j) for n in x.shapes) for x in s}, "gives complex128 and complex128"),
        (
            lambda s: {x.name: tuple(np.full(n, "1") for n in x.shapes) for x in s},
            "gives <U1 and <U1 for site 0.q; wanted: real numbers",
        ),
    ],
)
def test_a_strategy_that_gives_something_else_is_named(gives: Any, says: str) -> None:
    broken = Strategy("broken", lambda sites, ratio, rng: gives(sites), "")
    with pytest.raises(CellFailed, match=f"strategy 'broken' {says}"):
        build_masks(broken, SITES, 0.5, "matrix", Streams(equal(0)), None)


def test_a_ratio_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="leaves none of 12 entries"):
        count_share(12, 0.01)


def test_every_strategy_says_what_it_is() -> None:
    for name, strategy in STRATEGIES:
        assert strategy.name == name and strategy.summary and strategy.saves
        assert set(dataclasses.asdict(strategy)["saves"]) <= {
            "trained parameters",
            "gradient",
            "optimizer state",
            "activations",
            "compute",
        }
