"""How many replicas a pack should hold, from seconds of a step timed at some sizes."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping

FALL = 0.05
"""Share of the time per replica that is no gain: what a larger pack would have to save to be worth its memory."""
SHARE = 0.02
"""Of the predicted time of the waiting cells: what timing may take at most."""
FEW, AT_ONCE = 8, 2.0
"""Cells that are too few to time a pack for, and seconds that loading a backbone and a first size take at least."""


@dataclasses.dataclass(frozen=True)
class Timed:
    """Seconds of a step by size; `settled` says whether the sizes reach the knee, or all that is allowed."""

    steps: Mapping[int, float]
    settled: bool
    seconds: float


def knee(steps: Mapping[int, float]) -> int:
    """The smallest K whose seconds per replica and step lie within 5 % of the best; `steps` has those of the pack."""
    each = {k: seconds / k for k, seconds in steps.items()}
    best = min(each.values())
    return min(k for k, own in each.items() if own <= best * (1 + FALL))


def sizes(most: int) -> Iterator[int]:
    """1, 2, 4, ... and `most` itself."""
    k = 1
    while k < most:
        yield k
        k *= 2
    yield most


def worth_timing(cells: int, seconds: float) -> bool:
    """Whether so many cells, which wait for so long at least, leave room for timing."""
    return cells > FEW and seconds * SHARE >= AT_ONCE


def time_sizes(
    step: Callable[[int], float | None],
    most: int,
    replica_steps: int,
    clock: Callable[[], float] = time.perf_counter,
    started: float | None = None,
) -> Timed:
    """Time packs of growing size until two larger ones save nothing, or the budget would not hold the next.

    `step(k)` gives seconds of a step of k replicas, None where they do not fit. The budget is a share of what
    `replica_steps` steps would take at the best time so far; it has run since `started`.
    """
    started = clock() if started is None else started
    found: dict[int, float] = {}
    last, lowest, flat = 0.0, math.inf, 0
    for k in sizes(most):
        begun = clock()
        if found:
            best = min(seconds / size for size, seconds in found.items())
            # a size takes about as much longer than the last as it is larger
            if begun - started + last * k / max(found) > SHARE * replica_steps * best:
                return Timed(found, False, begun - started)
        seconds = step(k)
        last = clock() - begun
        if seconds is None:
            break
        found[k] = seconds
        if seconds / k <= lowest * (1 - FALL):
            lowest, flat = seconds / k, 0
        elif flat:
            break
        else:
            flat = 1  # one may be slow by chance, on a machine that does other work
    return Timed(found, bool(found), clock() - started)
