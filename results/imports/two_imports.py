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

Place = tuple[str, str]
"""Benchmark and row."""


def compare_imports(before: Sequence[ImportedRow], after: Sequence[ImportedRow]) -> list[str]:
    """Lines about the latest run of each row that two imports share: a summary, then each row."""
    a, b = _select_latest(before), _select_latest(after)
    shared = [place for place in a if place in b]
    again = [place for place in shared if a[place].provenance.created != b[place].provenance.created]
    lines = [
        f"rows of both: {len(shared)}; of A only: {len(a) - len(shared)}; of B only: {len(b) - len(shared)}",
        *([f"the same run in both: {len(shared) - len(again)}"] if len(again) < len(shared) else []),
    ]
    setups = {place: _describe_setup(a[place], b[place]) for place in again}
    common = set(setups.values())
    if len(common) == 1 and (setup := next(iter(common))):
        lines.append(f"all rows differ in their set-up: {setup}")
        setups = dict.fromkeys(setups, "")
    for benchmark in dict.fromkeys(benchmark for benchmark, _ in again):
        changes = [_compute_change(a[place], b[place]) for place in again if place[0] == benchmark]
        lower = sum(change < 0 for change in changes)
        mean = statistics.fmean(changes)
        lines.append(
            f"{benchmark}: {lower} of {len(changes)} rows are lower in B, mean change {mean:+.3g}; one run per row on "
            "each side, and p is not corrected"
        )
    return [*lines, *(_describe_row(place, a[place], b[place], setups[place]) for place in again)]


def _select_latest(rows: Sequence[ImportedRow]) -> dict[Place, ImportedRow]:
    """The latest scored run of each row."""
    latest: dict[Place, ImportedRow] = {}
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        for group in group_runs([row for row in rows if row.benchmark == benchmark]):
            latest[benchmark, group.name] = group.latest
    return latest


def _compute_change(a: ImportedRow, b: ImportedRow) -> float:
    return get_scale(a) * ((b.score or 0.0) - (a.score or 0.0))


def _describe_setup(a: ImportedRow, b: ImportedRow) -> str:
    """What differs in model, software and hardware; '' for nothing."""
    if shares_setup(a, b):
        return ""
    sides = [f"{row.model}, {describe_software(row)}, {row.hardware}" for row in (a, b)]
    return " -> ".join(sides)


def _describe_row(place: Place, a: ImportedRow, b: ImportedRow, setup: str) -> str:
    rights = count_right(a), count_right(b)
    test = ""
    if rights[0] is not None and rights[1] is not None and a.questions and a.questions == b.questions:
        test = f", unpaired p = {format_p(compare_shares(rights[1], rights[0], a.questions).p)}"
    differs = "; ".join(filter(None, [describe_changed_settings(find_changed_settings(a, b)), setup]))
    scale = get_scale(a)
    return (
        f"{' '.join(place)}: {scale * (a.score or 0):.4g} -> {scale * (b.score or 0):.4g} "
        f"({_compute_change(a, b):+.3g}{test}){f'; differs: {differs}' if differs else ''}"
    )
