"""Strategies for whole rows, columns, ranks, matrices, layers or modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.core.method import PerSite, Saving, Site, strategy


@strategy(
    "row",
    unit="row",
    version=2,
    why="every column of A has entries that train, so x is kept whole, and A x for every rank",
)
def score_rows(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Whole rows of each matrix: ranks of A, outputs of B."""
    chosen = {}
    for site in sites:
        a, b = (np.repeat(_shuffle_shares(rows, rng)[:, None], columns, 1) for rows, columns in site.shapes)
        chosen[site.name] = (a, b)
    return chosen


STATE: tuple[Saving, ...] = ("trained parameters", "gradient", "optimizer state")
ALL: tuple[Saving, ...] = (*STATE, "activations", "compute")


@strategy(
    "column",
    unit="column",
    version=2,
    saves=ALL,
    why="the gradient of A is computed of the chosen columns alone, so only they are kept of x: once for all sites that"
    " read it, while no other operation keeps x (a linear layer, norm or residual of a frozen BERT does not)",
)
def score_columns(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Whole columns: inputs of A (the same for all sites that read the same input), ranks of B."""
    inputs: dict[str, np.ndarray] = {}
    chosen = {}
    for s in sites:
        order = inputs.setdefault(s.reads or s.name, _shuffle_shares(s.d_in, rng))
        chosen[s.name] = _make_pair(np.tile(order, (s.rank, 1)), np.tile(_shuffle_shares(s.rank, rng), (s.d_out, 1)))
    return chosen


@strategy(
    "rank",
    unit="rank",
    version=2,
    saves=ALL,
    why="ranks that do not train add nothing and are left out: LoRA of a smaller rank",
)
def score_ranks(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Whole ranks: rows of A with their columns of B; the others are not computed, as B is zero there."""
    chosen = {}
    for s in sites:
        order = _shuffle_shares(s.rank, rng)
        chosen[s.name] = _make_pair(np.repeat(order[:, None], s.d_in, 1), np.tile(order, (s.d_out, 1)))
    return chosen


@strategy(
    "a-only",
    scope="pair",
    zero="a",
    trains="a",
    unit="block",
    half_only=True,
    version=2,
    saves=ALL,
    why="no gradient of B is computed and A x is not kept; x is, so that activations shrink little",
)
def score_a_only(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """A trains, B is drawn and frozen. A starts at zero here: with B at zero nothing would ever be learned."""
    return {s.name: _make_pair(np.ones(s.shapes[0]), np.zeros(s.shapes[1])) for s in sites}


@strategy(
    "b-only",
    scope="pair",
    trains="b",
    unit="block",
    half_only=True,
    version=2,
    saves=ALL,
    why="no gradient of A is computed, so A x (rank numbers a token) is kept in place of x",
    paper="arXiv 2308.03303",
)
def score_b_only(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """B trains, A is drawn and frozen (LoRA-FA): the backward pass keeps x A in place of x."""
    return {s.name: _make_pair(np.zeros(s.shapes[0]), np.ones(s.shapes[1])) for s in sites}


BLOCKS = "sites that do not train add nothing and are left out; nothing is kept or computed for them"


@strategy("layer", scope="model", unit="block", version=2, saves=ALL, why=BLOCKS)
def score_layers(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Whole layers at random, as many as come nearest to the ratio."""
    return _score_blocks(sites, rng, lambda s: s.layer)


@strategy("module", scope="model", unit="block", version=2, saves=ALL, why=BLOCKS)
def score_modules(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Whole sites at random, as many as come nearest to the ratio."""
    return _score_blocks(sites, rng, lambda s: s.name)


def _shuffle_shares(count: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers from 1 / count to 1 in random order, so that a larger matrix has no advantage in a common scope."""
    return (rng.permutation(count) + 1) / count


def _make_pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return a, b


def _score_blocks(sites: Sequence[Site], rng: np.random.Generator, block: Callable[[Site], object]) -> PerSite:
    blocks = list(dict.fromkeys(block(s) for s in sites))
    order = dict(zip(blocks, rng.permutation(len(blocks)), strict=True))
    chosen = {}
    for site in sites:
        # Equal numbers make all entries of a block one unit (unit="block").
        shape_a, shape_b = site.shapes
        chosen[site.name] = (np.full(shape_a, order[block(site)]), np.full(shape_b, order[block(site)]))
    return chosen
