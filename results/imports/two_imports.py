"""Two imports of single runs: how the latest run of each row that both have moves."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from reports.cells import format_p
from reports.statistics.proportions import compare_shares
from results.imports.base import ImportedRow
from results.imports.compared import count_right, get_scale
from results.imports.reruns import group_runs
from results.imports.settings import (
    describe_changed_settings,
    describe_software,
    find_changed_settings,
    shares_setup,
)


def compare_imports(before: Sequence[ImportedRow], after: Sequence[ImportedRow]) -> list[str]:
    """Lines about the latest run of each row that two imports share."""
    sides = []
    for rows in (before, after):
        benchmarks = dict.fromkeys(row.benchmark for row in rows)
        by_benchmark = {one: [row for row in rows if row.benchmark == one] for one in benchmarks}
        sides.append(
            {(one, group.name): group.latest for one, own in by_benchmark.items() for group in group_runs(own)}
        )
    shared = [place for place in sides[0] if place in sides[1]]
    lines = [
        f"rows of both: {len(shared)}; of A only: {len(sides[0]) - len(shared)}; "
        f"of B only: {len(sides[1]) - len(shared)}"
    ]
    moves: dict[str, list[float]] = {}
    for place in shared:
        a, b = sides[0][place], sides[1][place]
        scale = get_scale(a)
        change = scale * ((b.score or 0.0) - (a.score or 0.0))
        if a.provenance.created == b.provenance.created:
            lines.append(f"{' '.join(place)}: the same run in both")
            continue
        differs = [describe_changed_settings(find_changed_settings(a, b))]
        if not shares_setup(a, b):
            differs.append(f"{describe_software(a)}, {a.hardware} -> {describe_software(b)}, {b.hardware}")
        rights = count_right(a), count_right(b)
        test = ""
        if rights[0] is not None and rights[1] is not None and a.questions and a.questions == b.questions:
            test = f", unpaired p {format_p(compare_shares(rights[1], rights[0], a.questions).p)}"
        what = "; ".join(filter(None, differs)) or "no known setting"
        lines.append(
            f"{' '.join(place)}: {scale * (a.score or 0):.4g} -> {scale * (b.score or 0):.4g} ({change:+.3g}{test}); "
            f"differs: {what}"
        )
        moves.setdefault(place[0], []).append(change)
    for benchmark, changes in moves.items():
        lower = sum(change < 0 for change in changes)
        lines.append(
            f"{benchmark}: {lower} of {len(changes)} rows are lower in B, mean change "
            f"{statistics.fmean(changes):+.3g}; each side has one run per row, and these p are not corrected"
        )
    return lines
