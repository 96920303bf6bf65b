"""Whole rows, columns, ranks, matrices, layers or modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.contracts import PerSite, Site, strategy


@strategy("row")
def row(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Whole rows of each matrix: ranks of A, outputs of B."""
    return {s.name: _pair(*(np.repeat(rng.permutation(m)[:, None], n, 1) for m, n in s.shapes)) for s in sites}


@strategy("column")
def column(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Whole columns: inputs of A (the same for all sites that read the same input), ranks of B."""
    inputs: dict[str, np.ndarray] = {}
    chosen = {}
    for s in sites:
        order = inputs.setdefault(s.reads or s.name, rng.permutation(s.d_in))
        chosen[s.name] = _pair(np.tile(order, (s.rank, 1)), np.tile(rng.permutation(s.rank), (s.d_out, 1)))
    return chosen


@strategy("rank", saves=("trained parameters", "gradient", "optimizer state", "activations", "compute"))
def rank(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Whole ranks: rows of A with their columns of B; the others are not computed, as B is zero there."""
    chosen = {}
    for s in sites:
        order = rng.permutation(s.rank)
        chosen[s.name] = _pair(np.repeat(order[:, None], s.d_in, 1), np.tile(order, (s.d_out, 1)))
    return chosen


@strategy("a-only", scope="pair", zero="a")
def a_only(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """A trains, B is drawn and frozen. A starts at zero here: with B at zero nothing would ever be learned."""
    return {s.name: _pair(np.ones(s.shapes[0]), np.zeros(s.shapes[1])) for s in sites}


@strategy(
    "b-only",
    scope="pair",
    saves=("trained parameters", "gradient", "optimizer state", "activations"),
    paper="arXiv 2308.03303",
)
def b_only(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """B trains, A is drawn and frozen (LoRA-FA): the backward pass keeps x A in place of x."""
    return {s.name: _pair(np.zeros(s.shapes[0]), np.ones(s.shapes[1])) for s in sites}


@strategy("layer", scope="model", saves=("trained parameters", "gradient", "optimizer state", "activations", "compute"))
def layer(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Whole layers at random; the last one chosen may train in part, so that the share is exact."""
    return _blocks(sites, rng, lambda s: s.layer)


@strategy(
    "module", scope="model", saves=("trained parameters", "gradient", "optimizer state", "activations", "compute")
)
def module(sites: Sequence[Site], ratio: float, rng: np.random.Generator) -> PerSite:
    """Whole sites at random; the last one chosen may train in part, so that the share is exact."""
    return _blocks(sites, rng, lambda s: s.name)


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return a, b


def _blocks(sites: Sequence[Site], rng: np.random.Generator, block: Callable[[Site], object]) -> PerSite:
    blocks = list(dict.fromkeys(block(s) for s in sites))
    order = dict(zip(blocks, rng.permutation(len(blocks)), strict=True))
    return {s.name: _pair(*(np.full(shape, order[block(s)]) for shape in s.shapes)) for s in sites}
