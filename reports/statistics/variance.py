"""Variance components of named seed streams: how much of the run to run spread comes from init, mask, order, ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.statistics.student import has_no_spread

REST = "rest"
"""What no stream explains: their interactions, and what differs between runs of the same seeds."""


@dataclass(frozen=True)
class Component:
    """One source of variance.

    `stream`: its name; streams that always move together are one ("init + mask"). `levels`: different seeds seen.
    `variance`: in points squared, a negative estimate is given as 0. `share` of the sum. `p`: F-test of 'no variance',
    None for the rest and where nothing varies.
    """

    stream: str
    levels: int
    variance: float
    share: float
    p: float | None


def estimate_components(scores: Sequence[float], seeds: Sequence[Mapping[str, int]]) -> tuple[Component, ...]:
    """Random-effects decomposition of one task's runs of one method; () where seeds leave nothing to tell apart.

    Method of moments by fitting constants (Henderson 1953, method 3): the rest is what all streams together do not
    fit, a stream is what it fits beyond all others. On a balanced grid it is the analysis of variance; with holes it is
    unbiased still, and the F-test exact.
    """
    import numpy as np

    if len(scores) < 2:
        return ()
    # centred, because squares of scores far from 0 lose digits; rounding must not become a component
    y = np.zeros(len(scores)) if has_no_spread(scores) else np.asarray(scores) - np.mean(scores)
    factors = find_varying_streams(seeds)
    # A level for each run leaves nothing for the rest; the matrices of thousands of levels would take minutes.
    if any(int(codes.max()) + 1 == len(y) for codes in factors.values()):
        return ()
    designs = [np.eye(int(codes.max()) + 1)[codes] for codes in factors.values()]
    basis = build_basis(designs, len(y))
    free = len(y) - basis.shape[1]
    if not factors or free < 1:
        return ()
    residual = sum_residual_squares(y, basis) / free
    estimates = [_estimate_component(y, designs, i, basis.shape[1], residual, free) for i in range(len(designs))]
    variances = [variance for variance, _ in estimates] + [residual]
    total = sum(variances) or 1.0
    names, sizes = [*factors, REST], [*(d.shape[1] for d in designs), len(y)]
    tests = [*(p for _, p in estimates), None]
    return tuple(
        Component(name, size, variance, variance / total, p)
        for name, size, variance, p in zip(names, sizes, variances, tests, strict=True)
    )


def _estimate_component(
    y: Any, designs: Sequence[Any], which: int, rank: int, rest: float, free: int
) -> tuple[float, float | None]:
    """Variance of one stream and p of 'none'; 0 and None where the other streams fit all that it fits."""
    from scipy.special import fdtrc

    other_basis = build_basis([d for i, d in enumerate(designs) if i != which], len(y))
    stream_df = rank - other_basis.shape[1]
    if stream_df < 1:
        return 0.0, None
    gained = sum_residual_squares(y, other_basis) - rest * free
    variance = max(0.0, (gained - rest * stream_df) / sum_residual_squares(designs[which], other_basis))
    # against no rest at all the F statistic would be infinite
    return variance, float(fdtrc(stream_df, free, max(0.0, gained) / stream_df / rest)) if rest > 1e-18 else None


def build_basis(designs: Sequence[Any], n: int) -> Any:
    """Orthonormal basis [n, rank] of a constant and all designs."""
    import numpy as np

    vectors, sizes, _ = np.linalg.svd(np.hstack([np.ones((n, 1)), *designs]), full_matrices=False)
    return vectors[:, sizes > 1e-9 * sizes[0]]


def sum_residual_squares(values: Any, basis: Any) -> float:
    """Sum of squares that the basis leaves; of a design, the trace of what it leaves."""
    import numpy as np

    residual = values - basis @ (basis.T @ values)
    return float(np.sum(residual * residual))


def find_varying_streams(seeds: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """Streams with more than one seed -> level codes [n]; streams that move together share one entry."""
    import numpy as np

    codes_by_stream: dict[str, Any] = {}
    for stream in dict.fromkeys(name for each in seeds for name in each):
        # a run without the stream counts as one more seed
        _, codes = np.unique([each.get(stream, -1) for each in seeds], return_inverse=True)
        if codes.max() == 0:
            continue
        twin = next((name for name, other in codes_by_stream.items() if is_one_to_one(codes, other)), None)
        codes_by_stream[f"{twin} + {stream}" if twin else stream] = codes_by_stream.pop(twin) if twin else codes
    return codes_by_stream


def is_one_to_one(a: Any, b: Any) -> bool:
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))
