"""Many verdicts in one paragraph: which methods are better, worse, or not significantly different."""

from __future__ import annotations

from collections.abc import Sequence

from reports.statistics.analysis import ComparisonResult
from reports.statistics.verdicts import NOT_SIGNIFICANT, Kind

MIN_COMPARISONS = 5
"""Comparisons with one baseline from which on a paragraph of all is easier to read than a sentence each."""
KIND_PHRASES: dict[Kind, str] = {
    "better": "better",
    "worse": "worse",
    "equivalent": "equivalent within the margin of {margin:g} points",
    "non-inferior": "not worse by the margin of {margin:g} points",
    "undecided": f"{NOT_SIGNIFICANT} (equivalence not shown)",
}
UNADJUSTED_NOTE = (
    "Each interval is for one comparison alone. Where it excludes 0 without a verdict of better or worse, the adjusted "
    "p (Holm) is 0.05 or more."
)


def build_overviews(judged: Sequence[ComparisonResult], margin: float | None) -> list[str]:
    """A paragraph for each baseline and place that many methods are compared on."""
    groups: dict[tuple[str, str, str], list[ComparisonResult]] = {}
    for one in judged:
        groups.setdefault((one.comparison.suite, one.comparison.place, one.comparison.first), []).append(one)
    return [_build_paragraph(group, margin) for group in groups.values() if len(group) >= MIN_COMPARISONS]


def _build_paragraph(judged: Sequence[ComparisonResult], margin: float | None) -> str:
    first = judged[0].comparison
    place = f"the {first.place}" if first.whole else first.place
    parts = [_format_kind(kind, phrase.format(margin=margin or 0.0), judged) for kind, phrase in KIND_PHRASES.items()]
    without_verdict = [j.comparison.method for j in judged if j.verdict.kind not in KIND_PHRASES]
    parts += [f"no verdict: {', '.join(without_verdict)}"] if without_verdict else []
    paragraph = (
        f"Against {first.first} on {place} ({_describe_shared(judged)}): {'; '.join(part for part in parts if part)}."
    )
    return f"{paragraph} {UNADJUSTED_NOTE}" if any(map(_is_zero_excluded, judged)) else paragraph


def _is_zero_excluded(judged: ComparisonResult) -> bool:
    """An interval that excludes 0 without a verdict."""
    estimate = judged.comparison.estimate
    return judged.verdict.kind == "undecided" and estimate is not None and not estimate.low <= 0 <= estimate.high


def _format_kind(kind: Kind, told: str, judged: Sequence[ComparisonResult]) -> str:
    entries = [_format_interval(j) for j in judged if j.verdict.kind == kind]
    return f"{told}: {', '.join(entries)}" if entries else ""


def _format_interval(judged: ComparisonResult) -> str:
    estimate = judged.comparison.estimate
    assert estimate is not None
    return f"{judged.comparison.method} {estimate.value:+.1f} ({estimate.low:+.1f} to {estimate.high:+.1f})"


def _describe_shared(judged: Sequence[ComparisonResult]) -> str:
    """What all of them share."""
    with_estimate = [j for j in judged if j.comparison.estimate is not None]
    shared = [
        {j.comparison.counted for j in with_estimate},
        {f"95 % intervals for {j.comparison.target}" for j in with_estimate},
    ]
    family = {j.tests.family for j in with_estimate}
    shared += [{f"verdicts by adjusted p (Holm, {next(iter(family))} comparisons)"}] if len(family) == 1 else []
    return "; ".join(["points", *(next(iter(one)) for one in shared if len(one) == 1)])
