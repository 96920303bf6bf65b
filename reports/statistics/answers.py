"""The one sentence that answers the declared question, and what a reader must know beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reports.compare import NOT_RUN, Coverage
from reports.statistics.verdicts import NOT_SIGNIFICANT, Kind

if TYPE_CHECKING:
    from reports.statistics.analysis import ComparisonResult
    from reports.statistics.ranking import RankingRow

MAX_CLAIMS = 3
"""Primary comparisons that the answer gives with their numbers; of more it counts the verdicts."""
MAX_NAMES = 4
"""Methods that the answer names for one verdict; of more it gives their number."""
MAX_CAVEATS = 2
NO_CLAIM: Mapping[Kind, str] = {
    "failed": "cells without a score",
    "unpaired": "no paired seeds",
    "one seed": "one paired seed",
    "no spread": "no spread over seeds",
}
"""Why there is no verdict."""


def build_answer(judged: Sequence[ComparisonResult], rows: Sequence[RankingRow], margin: float | None) -> str:
    """What the primary comparisons of a suite show; `judged` are all of its comparisons."""
    if not any(row.mean or any(row.task_means.values()) for row in rows):
        return "No run has a score."
    primary = select_primary(judged)
    if not primary:
        return f"Only {rows[0].method} was run, so there is nothing to compare." if len(rows) == 1 else "No comparison."
    if len(primary) <= MAX_CLAIMS:
        return f"{'; '.join(format_claim(one, margin) for one in primary)}."
    return f"{'; '.join(_count_verdicts(primary, margin))}."


def select_primary(judged: Sequence[ComparisonResult]) -> list[ComparisonResult]:
    """The primary comparisons, each once: of a mean over one task and that task the mean."""
    primary = [j for j in judged if j.tests.role == "primary"]
    whole = {(j.comparison.method, j.comparison.first) for j in primary if j.comparison.whole}
    return [j for j in primary if j.comparison.whole or (j.comparison.method, j.comparison.first) not in whole]


def format_claim(one: ComparisonResult, margin: float | None) -> str:
    """One claim without its full stop: 'lorasp is worse than lora on the average of 8 tasks by 1.2 points (...)'."""
    c, kind = one.comparison, one.verdict.kind
    place = f"the {c.place}" if c.whole else c.place
    if c.estimate is None or kind in NO_CLAIM:
        return f"no verdict on {c.method} against {c.first} on {place}: {NO_CLAIM.get(kind, kind)}"
    numbers = f"{c.estimate.value:+.1f} points (95 % interval {c.estimate.low:+.1f} to {c.estimate.high:+.1f})"
    claims: Mapping[Kind, str] = {
        "better": f"{c.method} is better than {c.first} on {place}",
        "worse": f"{c.method} is worse than {c.first} on {place}",
        "equivalent": f"{c.method} is equivalent to {c.first} within {margin or 0.0:g} points on {place}",
        "non-inferior": f"{c.method} is not worse than {c.first} by {margin or 0.0:g} points on {place}",
        "undecided": f"{NOT_SIGNIFICANT} between {c.method} and {c.first} on {place}",
    }
    return f"{claims[kind]}: {numbers}"


def _count_verdicts(primary: Sequence[ComparisonResult], margin: float | None) -> list[str]:
    """One part per baseline and place: which methods are better, worse, and so on."""
    groups: dict[tuple[str, str], list[ComparisonResult]] = {}
    for one in primary:
        place = f"the {one.comparison.place}" if one.comparison.whole else one.comparison.place
        groups.setdefault((one.comparison.first, place), []).append(one)
    phrases: Mapping[Kind, str] = {
        "better": "better",
        "worse": "worse",
        "equivalent": f"equivalent within {margin or 0.0:g} points",
        "non-inferior": f"not worse by {margin or 0.0:g} points",
        "undecided": NOT_SIGNIFICANT,
    }
    parts = []
    for (first, place), group in groups.items():
        names = {kind: [j.comparison.method for j in group if j.verdict.kind == kind] for kind in phrases}
        counts = [f"{_list_names(methods)} {phrases[kind]}" for kind, methods in names.items() if methods]
        silent = [j.comparison.method for j in group if j.verdict.kind not in phrases]
        counts += [f"{_list_names(silent)} no verdict"] if silent else []
        parts.append(f"against {first} on {place}: {', '.join(counts)}")
    return parts


def _list_names(methods: Sequence[str]) -> str:
    return " and ".join(methods) if len(methods) <= MAX_NAMES else f"{len(methods)} methods"


def list_caveats(judged: Sequence[ComparisonResult], rows: Sequence[RankingRow], cover: Coverage) -> list[str]:
    """The most important things that the numbers do not say, two at most."""
    caveats = []
    failed = {cell for j in judged for cell in j.comparison.failed}
    if failed:
        caveats.append(f"{len(failed)} cell{'' if len(failed) == 1 else 's'} without a score.")
    if any(j.verdict.kind == "one seed" for j in judged):
        caveats.append("One seed: no spread, so no verdict.")
    if any(why != NOT_RUN for why in cover.missing.values()):
        caveats.append(f"The mean leaves out {', '.join(t for t, why in cover.missing.items() if why != NOT_RUN)}.")
    return caveats[:MAX_CAVEATS]
