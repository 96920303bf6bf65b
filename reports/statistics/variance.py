"""Variance components of named seed streams: how much of the run to run spread comes from init, mask, order, ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

REST = "rest"
"""What no stream explains: their interactions, and what differs between runs of the same seeds."""


@dataclass(frozen=True)
class Component:
    """One source of variance.

    `stream`: its name; streams that always move together are one ("init + mask"). `levels`: different seeds seen.
    `variance`: in points squared, a negative estimate told as 0. `share` of the sum. `p`: F-test of 'no variance' on
    a balanced grid (each combination of seeds once), None elsewhere and for the rest.
    """

    stream: str
    levels: int
    variance: float
    share: float
    p: float | None


def components(scores: Sequence[float], seeds: Sequence[Mapping[str, int]]) -> tuple[Component, ...]:
    """Random-effects decomposition of one task's runs of one method; () of fewer than three runs or no free streams.

    Method of moments: each stream's sum of squares is set equal to its expectation under independent additive effects
    (MINQUE(0), Rao 1971), which is the analysis of variance on a balanced grid and is unbiased on any other.
    """
    import numpy as np

    y = np.asarray(scores, dtype=float)
    factors = moving(seeds)
    levels = {name: int(codes.max()) + 1 for name, codes in factors.items()}
    if len(y) < 3 or not factors or max(levels.values()) == len(y):
        return ()  # where a stream has a new seed for each run, it can't be told from the rest
    designs = [np.eye(levels[name])[codes] for name, codes in factors.items()] + [np.eye(len(y))]
    centred = [z - z.mean(axis=0) for z in designs]
    expected = np.array([[float(np.sum((a.T @ b) ** 2)) for b in centred] for a in centred])
    observed = np.array([float(np.sum((z.T @ y) ** 2)) for z in centred])
    try:
        found = np.clip(np.linalg.solve(expected, observed), 0.0, None)
    except np.linalg.LinAlgError:
        return ()
    shares = found / found.sum() if found.sum() > 0 else np.zeros_like(found)
    tests: list[float | None] = [*f_tests(y, list(factors.values())), None]
    names = [*factors, REST]
    sizes = [*levels.values(), len(y)]
    return tuple(Component(*each) for each in zip(names, sizes, found.tolist(), shares.tolist(), tests, strict=True))


def moving(seeds: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """Streams with more than one seed -> level codes [n]; streams that move together share one entry."""
    import numpy as np

    found: dict[str, Any] = {}
    for stream in dict.fromkeys(name for each in seeds for name in each):
        _, codes = np.unique([each.get(stream, -1) for each in seeds], return_inverse=True)
        if codes.max() == 0:
            continue
        twin = next((name for name, other in found.items() if one_to_one(codes, other)), None)
        found[f"{twin} + {stream}" if twin else stream] = found.pop(twin) if twin else codes
    return found


def one_to_one(a: Any, b: Any) -> bool:
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


def f_tests(y: Any, factors: Sequence[Any]) -> list[float | None]:
    """p of each stream's mean square over that of the rest, on a grid with each combination once; else None."""
    import numpy as np
    from scipy.special import fdtrc

    sizes = [int(codes.max()) + 1 for codes in factors]
    cells = set(zip(*(codes.tolist() for codes in factors), strict=True))
    df = len(y) - 1 - sum(size - 1 for size in sizes)
    if len(cells) != len(y) or len(y) != np.prod(sizes) or df < 1:
        return [None] * len(factors)
    means = [np.bincount(codes, y) * size / len(y) for codes, size in zip(factors, sizes, strict=True)]
    squares = [float(np.sum((m - y.mean()) ** 2)) * len(y) / size for m, size in zip(means, sizes, strict=True)]
    rest = (float(np.sum((y - y.mean()) ** 2)) - sum(squares)) / df
    if rest <= 0:
        return [None] * len(factors)
    return [float(fdtrc(k - 1, df, s / (k - 1) / rest)) for s, k in zip(squares, sizes, strict=True)]
