"""Every strategy: exact counts in its scope, its own shape, and the same again; bad ones are named."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from harness.contracts import METHODS, STRATEGIES, Masks, Scope, Site, Strategy
from harness.errors import CellFailed, UserError
from harness.seeds import Streams, equal
from methods.masks import choose, highest, share
from methods.selection.scored import shares

SITES = [
    Site("0.q", 12, 8, 4, 0, "0"),
    Site("0.v", 12, 8, 4, 0, "0"),
    Site("1.q", 7, 3, 3, 1, "1"),
    Site("2.q", 9, 9, 5, 2, "2"),
]


def scores_for(sites: Sequence[Site], seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {s.name: (rng.random(s.shapes[0]), rng.random(s.shapes[1])) for s in sites}


def masks_of(name: str, ratio: float, seed: int = 0, scope: Scope | None = None) -> Masks:
    strategy = STRATEGIES.get(name)
    scores = scores_for(SITES) if strategy.scores else None
    return choose(strategy, SITES, ratio, scope or strategy.scope, Streams(equal(seed)), scores)


def total(masks: Masks) -> int:
    return sum(int(a.sum() + b.sum()) for a, b in masks.values())


@pytest.mark.parametrize("scope", ["matrix", "pair", "model"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("name", STRATEGIES.names())
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


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_the_mask_stream_alone_decides(name: str) -> None:
    first = masks_of(name, 0.5, seed=2)
    np.random.seed(1)
    torch.manual_seed(1)
    again = masks_of(name, 0.5, seed=2)
    assert all((x == y).all() for s in SITES for x, y in zip(first[s.name], again[s.name], strict=True))
    drawn = STRATEGIES.get(name).scores is None and name not in ("a-only", "b-only")
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


def test_layers_and_modules_are_whole_but_one() -> None:
    for name, block in (("layer", lambda s: s.layer), ("module", lambda s: s.name)):
        masks = masks_of(name, 0.5)
        parts: dict[Any, list[np.ndarray]] = {}
        for s in SITES:
            parts.setdefault(block(s), []).extend(m.ravel() for m in masks[s.name])
        means = [float(np.concatenate(p).mean()) for p in parts.values()]
        assert sum(m not in (0.0, 1.0) for m in means) <= 1


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
        masks = choose(strategy, SITES, 0.4, "model", Streams(equal(0)), scores)  # type: ignore[arg-type]
        made[name] = {s.name: np.concatenate([m.ravel() for m in masks[s.name]]).mean() for s in SITES}
    assert made["criticality"]["1.q"] == 1.0
    assert made["learned-ratio"]["1.q"] > 1.8 * made["learned-ratio"]["0.q"] > 0


def test_shares_have_the_mean_and_none_is_above_one() -> None:
    found = shares({0: 10.0, 1: 1.0, 2: 1.0}, 0.5)
    assert found == {0: 1.0, 1: pytest.approx(0.25), 2: pytest.approx(0.25)}
    assert shares({0: 0.0, 1: 0.0}, 0.5) == {0: 0.5, 1: 0.5}
    assert shares({0: 2.0, 1: 1.0}, 1.0) == {0: 1.0, 1: 1.0}


def test_ties_fall_in_row_major_order() -> None:
    site = Site("s", 3, 2, 2, 0)
    masks = highest({"s": (np.zeros((2, 3)), np.zeros((2, 2)))}, [site], 0.5, "matrix")
    assert masks["s"][0].tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (lambda s: {}, "gives nothing for site 0.q"),
        (lambda s: {x.name: (np.zeros((2, 2)), np.zeros((2, 2))) for x in s}, "gives shapes"),
        (lambda s: {x.name: tuple(np.full(n, np.nan) for n in x.shapes) for x in s}, "gives NaN"),
    ],
)
def test_a_strategy_that_gives_something_else_is_named(gives: Any, says: str) -> None:
    broken = Strategy("broken", lambda sites, ratio, rng: gives(sites), "")
    with pytest.raises(CellFailed, match=f"strategy 'broken' {says}"):
        choose(broken, SITES, 0.5, "matrix", Streams(equal(0)), None)


def test_a_ratio_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="leaves none of 12 entries"):
        share(12, 0.01)


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
