"""Strategies that combine the frozen weight with start values or inputs (methods/requested.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.core.method import InputStatistics, PerSite, Site, strategy

Weights = Mapping[str, np.ndarray]


@strategy(
    "wanda",
    unit="channel",
    paper="after arXiv 2306.11695",
    why="whole columns of A train, but sites that read the same x choose different ones, together no fewer than all",
)
def score_by_wanda(
    sites: Sequence[Site],
    ratio: float,
    rng: np.random.Generator,
    weights: Weights,
    inputs: Mapping[str, InputStatistics],
) -> PerSite:
    """Inputs (columns of A) and outputs (rows of B) with the largest norm of |W_ij| * ||x_j||.

    The paper prunes entries of W by |W_ij| * ||x_j||. That a column of A takes the norm of this over the outputs i, and
    a row of B the norm over the inputs j, is our own transfer; with equal ||x_j|| it is `magnitude`.
    """
    order = {}
    for s in sites:
        squares = np.square(weights[s.name], dtype=np.float64)
        energy = inputs[s.name].norm ** 2
        columns, rows = np.sqrt(squares.sum(0) * energy), np.sqrt(squares @ energy)
        order[s.name] = np.tile(columns, (s.rank, 1)), np.tile(rows[:, None], (1, s.rank))
    return order


@strategy("weight-column")
def score_by_weight_column(
    sites: Sequence[Site],
    ratio: float,
    rng: np.random.Generator,
    starts: PerSite,
    weights: Weights,
) -> PerSite:
    """Entries of A with the largest |A_rj| * ||column j of W||, and of B with |B_ir| * ||row i of W||.

    In the matrix that starts at zero, an entry counts as the root mean square of its rank in the other matrix.
    """
    order = {}
    for s in sites:
        weight = weights[s.name].astype(np.float64)
        a, b = map(np.abs, starts[s.name])
        # without a size of its own, an entry at zero acts through the rank that it is multiplied by
        a, b = (a if a.any() else _norm_of_ranks(b.T), b if b.any() else _norm_of_ranks(a).T)
        columns, rows = np.linalg.norm(weight, axis=0), np.linalg.norm(weight, axis=1)
        order[s.name] = a * columns, b * rows[:, None]
    return order


def _norm_of_ranks(matrix: np.ndarray) -> np.ndarray:
    """Root mean square of each row [rank, n], as [rank, 1]."""
    return np.asarray(np.sqrt(np.mean(matrix**2, axis=1, keepdims=True)))
