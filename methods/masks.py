"""From a strategy's order to masks with exactly the asked number of entries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.contracts import Masks, PerSite, Scope, Site, Strategy
from harness.errors import CellFailed, UserError
from harness.seeds import Streams


def choose(
    strategy: Strategy,
    sites: Sequence[Site],
    ratio: float,
    scope: Scope,
    streams: Streams,
    scores: PerSite | None,
    draw: int = 0,
) -> Masks:
    """The masks of a strategy; each `draw` has a stream of its own.

    Raises CellFailed where it returns something else than an order of every entry.
    """
    seed = streams.seeds["mask"]
    if strategy.twins:
        streams = Streams({**streams.seeds, "mask": seed // 2})
    rng = streams.numpy("mask", f"{strategy.name} {draw}" if draw else strategy.name)
    order = strategy.order(sites, ratio, rng) if scores is None else strategy.order(sites, ratio, rng, scores)
    masks = highest(_checked(strategy.name, sites, order), sites, ratio, scope)
    if strategy.twins and seed % 2:
        return {name: (~a, ~b) for name, (a, b) in masks.items()}
    return masks


def _checked(name: str, sites: Sequence[Site], order: PerSite) -> PerSite:
    for site in sites:
        if site.name not in order:
            raise CellFailed(f"strategy '{name}' gives nothing for site {site.name}; it must order every site it gets")
        shapes = tuple(np.shape(matrix) for matrix in order[site.name])
        if shapes != site.shapes:
            raise CellFailed(f"strategy '{name}' gives shapes {shapes} for site {site.name}; wanted: {site.shapes}")
        if any(np.isnan(matrix).any() for matrix in order[site.name]):
            raise CellFailed(f"strategy '{name}' gives NaN for site {site.name}")
    return order


def highest(order: PerSite, sites: Sequence[Site], ratio: float, scope: Scope) -> Masks:
    """True at the highest entries, round(ratio * entries) of them in each scope, ties in row-major order."""
    parts = [(s.name, i, np.asarray(order[s.name][i])) for s in sites for i in (0, 1)]
    if scope == "model":
        groups = [parts]
    elif scope == "pair":
        groups = [parts[i : i + 2] for i in range(0, len(parts), 2)]
    else:
        groups = [[part] for part in parts]
    chosen: dict[tuple[str, int], np.ndarray] = {}
    for group in groups:
        flat = np.concatenate([matrix.ravel() for _, _, matrix in group])
        mask = np.zeros(flat.size, dtype=bool)
        mask[np.argsort(-flat.astype(np.float64), kind="stable")[: share(flat.size, ratio)]] = True
        start = 0
        for name, i, matrix in group:
            chosen[name, i] = mask[start : start + matrix.size].reshape(matrix.shape)
            start += matrix.size
    return {s.name: (chosen[s.name, 0], chosen[s.name, 1]) for s in sites}


def share(size: int, ratio: float) -> int:
    """round(ratio * size). Raises UserError where no entry is left."""
    count = round(ratio * size)
    if count == 0:
        raise UserError(f"ratio={ratio}: leaves none of {size} entries; give a larger ratio or rank, or scope=model")
    return count
