"""Which methods of a suite are compared with which."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from reports.frames import Grid
from reports.statistics.families import Pair, is_alike
from reports.statistics.signatures import REFERENCES, SUBJECT


def list_opponents(grid: Grid, primary: Sequence[Pair] = ()) -> list[Pair]:
    """(method, first): the primary pairs; all methods against the baseline; lorasp against lora and full like it."""
    baseline = find_baseline(grid, primary)
    cells = {method: grid.select_method(method)[0].cell for method in grid.methods}
    subjects = [method for method, cell in cells.items() if cell.method == SUBJECT]
    references = [method for method, cell in cells.items() if cell.method in REFERENCES]
    candidates = [*primary, *((method, baseline) for method in grid.methods if method != baseline)]
    candidates += [
        (method, first)
        for method, first in itertools.product(subjects, references)
        if method != first and is_alike(grid, method, first)
    ]
    # in the order of the candidates; the reverse is the same comparison with its sign changed
    matchups: dict[Pair, None] = {}
    for method, first in candidates:
        if (first, method) not in matchups or (method, first) in primary:
            matchups[method, first] = None
    return list(matchups)


def find_baseline(grid: Grid, primary: Sequence[Pair]) -> str:
    """What the methods are compared with: the opponent of the first primary pair, else the first method."""
    return primary[0][1] if primary else grid.methods[0]
