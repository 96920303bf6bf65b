"""Whether a method loses more against another in a language family than in English, with a verdict for each family.

excess of a family = (method - reference) in its languages - (method - reference) in English
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.document import Extra
from reports.frames import build_grids
from reports.statistics.evidence import collect_evidence
from reports.statistics.language_gaps import ALL, GROUPS, SUITE, LanguageGap, estimate_excess
from studies.answer import Part, StudyRuns, merge_verdicts
from studies.rules.margins import describe_estimate_power, format_interval, judge_estimates
from studies.study import Kind

EVERY = "every family"
MEANING: Mapping[Kind, str] = {
    "confirmed": "loses no more than in English by the margin",
    "contradicted": "loses more than in English by the margin",
    "undecided": "undecided",
}
NOTES = (
    "excess: the difference to the reference in the family's languages less that in English; negative: more is lost."
    " Holm over the families.",
    "new seeds and examples: the interval holds for new examples too, all translations of an example drawn together.",
)


@dataclass(frozen=True)
class FamilyVerdicts:
    """`overall`: the excess over all languages but English; `parts` by family, and one that needs them all."""

    overall: LanguageGap | None
    parts: Mapping[str, Part]
    tables: Sequence[Extra]


def judge_families(
    seen: StudyRuns, methods: tuple[str, str], margin: float, *, is_broken: bool, is_refused: bool
) -> FamilyVerdicts:
    """The verdicts of subject and reference, `methods`, by family; nothing of a suite without families.

    `is_broken`: cells failed, so nothing is decided. `is_refused`: runs collapsed, so nothing is confirmed.
    """
    gaps = _estimate_gaps(seen, methods)
    families = {name: gap for name, gap in gaps.items() if name != ALL and gap is not None}
    if not families:
        return FamilyVerdicts(gaps.get(ALL), {}, ())
    kinds = judge_estimates(
        [None if is_broken else gap.estimate for gap in families.values()],
        margin,
        "not worse",
        refused=[is_refused] * len(families),
    )
    parts = {
        name: Part(
            kind,
            f"{name} ({', '.join(GROUPS[name])}): {MEANING[kind]}: {format_interval(gap.estimate)} points.",
            describe_estimate_power(gap.estimate, margin, family=len(families)),
        )
        for (name, gap), kind in zip(families.items(), kinds, strict=True)
    }
    rows = [_build_row(name, gap, parts[name].kind) for name, gap in families.items()]
    parts[EVERY] = Part(merge_verdicts(kinds), _describe_families(parts, methods))
    return FamilyVerdicts(gaps.get(ALL), parts, [("By language family", rows, NOTES)])


def _estimate_gaps(seen: StudyRuns, methods: tuple[str, str]) -> dict[str, LanguageGap | None]:
    """Family -> the excess; {} of records that are not of one task of the suite."""
    grids = [grid for grid in build_grids(seen.records) if grid.suite == SUITE]
    if len(grids) != 1 or len(grids[0].tasks) != 1 or not set(methods) <= set(grids[0].methods):
        return {}
    grid, task = grids[0], grids[0].tasks[0]
    evidence = collect_evidence(grid, grid.averages[0], seen.cells)[task]
    return {name: estimate_excess(grid, task, *methods, codes, evidence) for name, codes in GROUPS.items()}


def _describe_families(parts: Mapping[str, Part], methods: tuple[str, str]) -> str:
    kinds: list[Kind] = ["confirmed", "contradicted", "undecided"]
    by_kind = {kind: [name for name, part in parts.items() if part.kind == kind] for kind in kinds}
    words = [f"{kind} {len(names)} ({', '.join(names)})" for kind, names in by_kind.items() if names]
    return f"{methods[0]} against {methods[1]} by language family: {'; '.join(words)}."


def _build_row(name: str, gap: LanguageGap, kind: Kind) -> dict[str, str]:
    return {
        "family": name,
        "languages": " ".join(GROUPS[name]),
        "excess (95 %)": format_interval(gap.estimate),
        "generalizes to": "new seeds and examples" if gap.has_examples else "new seeds",
        "pairs": str(gap.runs),
        "verdict": kind,
    }
