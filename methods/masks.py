"""Turn a strategy's order into masks.

    numbers [m, n] per matrix -> one group per scope (matrix, pair, model) -> the highest units train -> bool [m, n]

Single entries train in exactly the requested number; whole rows, ranks or layers in the number nearest to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.core.errors import CellFailed, UserError
from harness.core.method import Masks, PerSite, Scope, Site, Strategy, Unit
from harness.core.seeds import Streams


def build_masks(
    strategy: Strategy,
    sites: Sequence[Site],
    ratio: float,
    scope: Scope,
    streams: Streams,
    scores: PerSite | None,
    draw: int = 0,
    requested: Mapping[str, Any] | None = None,
) -> Masks:
    """The masks of a strategy; each resampling `draw` has its own random stream.

    `requested` has what the strategy requests: "weights" -> site name -> weight, and so on (`Strategy.requests`).
    Raises CellFailed where the strategy does not return a number for every entry.
    """
    seed = streams.seeds["mask"]
    if strategy.twins:
        # Both seeds of a pair draw the same mask; the odd one takes its complement below.
        streams = Streams({**streams.seeds, "mask": seed // 2})
    rng = streams.numpy("mask", f"{strategy.name} {draw}" if draw else strategy.name)
    measured = () if scores is None else (scores,)
    order = strategy.order(sites, ratio, rng, *measured, **(requested or {}))
    masks = select_highest(_check_order(strategy.name, sites, order), sites, ratio, scope, strategy.unit)
    if strategy.twins and seed % 2:
        return {name: (~a, ~b) for name, (a, b) in masks.items()}
    return masks


def _check_order(name: str, sites: Sequence[Site], order: PerSite) -> PerSite:
    if not isinstance(order, Mapping):
        what = "wanted: a mapping from each site's name to the numbers of A and of B"
        raise CellFailed(f"strategy '{name}' returns {type(order).__name__}; {what}")
    for site in sites:
        if site.name not in order:
            raise CellFailed(f"strategy '{name}' gives nothing for site {site.name}; it must order every site it gets")
        shapes = tuple(np.shape(matrix) for matrix in order[site.name])
        if shapes != site.shapes:
            raise CellFailed(f"strategy '{name}' gives shapes {shapes} for site {site.name}; wanted: {site.shapes}")
        kinds = [np.asarray(matrix).dtype for matrix in order[site.name]]
        # a cast to float would drop imaginary parts and read texts and None as numbers
        if any(dtype.kind not in "biuf" for dtype in kinds):
            listed = " and ".join(str(dtype) for dtype in kinds)
            raise CellFailed(f"strategy '{name}' gives {listed} for site {site.name}; wanted: real numbers")
        if any(np.isnan(matrix).any() for matrix in order[site.name]):
            raise CellFailed(f"strategy '{name}' gives NaN for site {site.name}")
    return order


def select_highest(order: PerSite, sites: Sequence[Site], ratio: float, scope: Scope, unit: Unit = "entry") -> Masks:
    """Masks that are True at the units with the highest numbers in each scope; ties go in row-major order.

    Exactly round(ratio * entries) entries train, or the number of larger units that comes nearest to it.
    """
    # A before B at each site, in model order: the order of ties is part of the result.
    parts = [(s.name, i, np.asarray(order[s.name][i], np.float64)) for s in sites for i in (0, 1)]
    if scope == "model":
        groups = [parts]
    elif scope == "pair":
        groups = [parts[i : i + 2] for i in range(0, len(parts), 2)]
    else:
        groups = [[part] for part in parts]
    chosen: dict[tuple[str, int], np.ndarray] = {}
    for group in groups:
        flat = np.concatenate([matrix.ravel() for _, _, matrix in group])
        if unit == "entry":
            mask = _select_entries(flat, count_share(flat.size, ratio))
        else:
            mask = _select_units(flat, _number_units(group, unit), ratio, f"{unit}s")
        start = 0
        for name, i, matrix in group:
            chosen[name, i] = mask[start : start + matrix.size].reshape(matrix.shape)
            start += matrix.size
    return {s.name: (chosen[s.name, 0], chosen[s.name, 1]) for s in sites}


def _select_entries(values: np.ndarray, count: int) -> np.ndarray:
    """The mask of the `count` highest entries; of equal ones the first."""
    # a partition takes a tenth of the time of a stable sort, and gives the same entries
    least = np.partition(values, values.size - count)[values.size - count]
    mask: np.ndarray = values > least
    mask[np.flatnonzero(values == least)[: count - int(mask.sum())]] = True
    return mask


def _number_units(group: Sequence[tuple[str, int, np.ndarray]], unit: Unit) -> np.ndarray:
    """The number of the unit of each entry in a group."""
    if unit == "block":
        values = np.concatenate([matrix.ravel() for _, _, matrix in group])
        numbers: np.ndarray = np.unique(values, return_inverse=True)[1].ravel()
        return numbers
    unit_numbers, first, of_site = [], 0, dict[str, int]()
    for name, i, matrix in group:
        by_row = unit == "row" or (unit == "rank" and i == 0) or (unit == "channel" and i == 1)
        count = matrix.shape[0 if by_row else 1]
        # Row r of A and column r of B are one rank, so both get the same number.
        begin = of_site.setdefault(name, first) if unit == "rank" else first
        lines = np.arange(begin, begin + count)
        unit_numbers.append(np.repeat(lines, matrix.shape[1]) if by_row else np.tile(lines, matrix.shape[0]))
        first = max(first, begin + count)
    return np.concatenate(unit_numbers)


def _select_units(values: np.ndarray, units: np.ndarray, ratio: float, names: str) -> np.ndarray:
    """The mask of the highest units; of two counts equally near to the ratio, the smaller one."""
    sizes = np.bincount(units)
    first = np.zeros(len(sizes), dtype=np.int64)
    # Of repeated writes numpy keeps the last one, so writing in reverse leaves each unit's first entry.
    first[units[::-1]] = np.arange(units.size)[::-1]
    best = np.lexsort((first, -values[first]))
    sums = np.concatenate([[0], np.cumsum(sizes[best])])
    # The tolerance makes two counts that are equally near equal despite rounding.
    off = np.abs(sums - ratio * values.size)
    count = int(np.flatnonzero(off <= off.min() + 1e-9 * values.size)[0])
    if count == 0:
        raise UserError(f"ratio={ratio}: leaves none of {len(sizes)} {names}; give a larger ratio or rank")
    trains = np.zeros(len(sizes), dtype=bool)
    trains[best[:count]] = True
    mask: np.ndarray = trains[units]
    return mask


def count_share(size: int, ratio: float) -> int:
    """round(ratio * size). Raises UserError where that is 0."""
    count = round(ratio * size)
    if count == 0:
        raise UserError(f"ratio={ratio}: leaves none of {size} entries; give a larger ratio or rank, or scope=model")
    return count


def compute_trained_ratio(masks: Masks) -> float:
    """The actual share of trained entries, which differs from `ratio` where whole rows, ranks or layers train."""
    size = sum(m.size for pair in masks.values() for m in pair)
    return sum(int(m.sum()) for pair in masks.values() for m in pair) / size
