"""Many verdicts in one paragraph: which methods are better, worse, or not significantly different."""

from __future__ import annotations

from collections.abc import Sequence

from reports.statistics.analysis import Judged
from reports.statistics.verdicts import NOT_SIGNIFICANT, Kind

FEWEST = 5
"""Comparisons with one baseline from which on a paragraph of all is easier to read than a sentence each."""
ORDER: dict[Kind, str] = {
    "better": "better",
    "worse": "worse",
    "equivalent": "equivalent within the margin of {margin:g} points",
    "non-inferior": "not worse by the margin of {margin:g} points",
    "undecided": f"{NOT_SIGNIFICANT} (equivalence not shown)",
}
ALONE = (
    "Each interval is for one comparison alone. Where it excludes 0 without a verdict of better or worse, the adjusted "
    "p (Holm) is 0.05 or more."
)


def overviews(judged: Sequence[Judged], margin: float | None) -> list[str]:
    """A paragraph for each baseline and place that many methods are compared on."""
    groups: dict[tuple[str, str, str], list[Judged]] = {}
    for one in judged:
        groups.setdefault((one.comparison.suite, one.comparison.place, one.comparison.first), []).append(one)
    return [_paragraph(own, margin) for own in groups.values() if len(own) >= FEWEST]


def _paragraph(judged: Sequence[Judged], margin: float | None) -> str:
    first = judged[0].comparison
    place = f"the {first.place}" if first.whole else first.place
    parts = [_part(kind, told.format(margin=margin or 0.0), judged) for kind, told in ORDER.items()]
    rest = [j.comparison.method for j in judged if j.verdict.kind not in ORDER]
    parts += [f"no verdict: {', '.join(rest)}"] if rest else []
    paragraph = f"Against {first.first} on {place} ({_how(judged)}): {'; '.join(part for part in parts if part)}."
    return f"{paragraph} {ALONE}" if any(map(_excludes, judged)) else paragraph


def _excludes(judged: Judged) -> bool:
    """An interval that excludes 0 without a verdict."""
    found = judged.comparison.estimate
    return judged.verdict.kind == "undecided" and found is not None and not found.low <= 0 <= found.high


def _part(kind: Kind, told: str, judged: Sequence[Judged]) -> str:
    own = [_with_interval(j) for j in judged if j.verdict.kind == kind]
    return f"{told}: {', '.join(own)}" if own else ""


def _with_interval(judged: Judged) -> str:
    found = judged.comparison.estimate
    assert found is not None
    return f"{judged.comparison.method} {found.value:+.1f} ({found.low:+.1f} to {found.high:+.1f})"


def _how(judged: Sequence[Judged]) -> str:
    """What all of them share."""
    known = [j for j in judged if j.comparison.estimate is not None]
    shared = [{j.comparison.counted for j in known}, {f"95 % intervals for {j.comparison.target}" for j in known}]
    family = {j.tests.family for j in known}
    shared += [{f"verdicts by adjusted p (Holm, {next(iter(family))} comparisons)"}] if len(family) == 1 else []
    return "; ".join(["points", *(next(iter(one)) for one in shared if len(one) == 1)])
