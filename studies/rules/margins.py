"""Comparisons held against a margin: surely within, surely beyond, or open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from reports.statistics.equivalence import EQUIVALENCE_ALPHA, NON_INFERIORITY_ALPHA, equivalence_p
from reports.statistics.holm import holm
from reports.statistics.power import MOST_SEEDS, Noise, detectable, seeds_needed
from reports.statistics.student import Student
from reports.statistics.verdicts import uncorrected
from studies.study import Kind

Sense = Literal["not worse", "equal", "not better"]
ALPHA = {"not worse": NON_INFERIORITY_ALPHA, "not better": NON_INFERIORITY_ALPHA, "equal": EQUIVALENCE_ALPHA}


def decide(
    estimates: Sequence[Student | None], margin: float, sense: Sense, others: Sequence[Student | None] = ()
) -> list[Kind]:
    """Confirmed: surely within the margin in this sense. Contradicted: surely beyond it. Else undecided.

    Both tests are one-sided and each a Holm family, in which the `others` of the report count too. A
    difference that is not significant confirms nothing.
    """
    family = [*estimates, *others]
    within = holm([None if e is None else _within(e, margin, sense) for e in family])
    beyond = holm([None if e is None else _beyond(e, margin, sense) for e in family])
    return [_kind(w, b, ALPHA[sense]) for w, b in zip(within, beyond, strict=True)][: len(estimates)]


def _within(e: Student, margin: float, sense: Sense) -> float:
    """p of 'the truth lies at or beyond the margin'."""
    if sense == "equal":
        return equivalence_p(e, margin)
    return e.p_above(-margin) if sense == "not worse" else e.p_below(margin)


def _beyond(e: Student, margin: float, sense: Sense) -> float:
    """p of 'the truth lies at or within the margin'."""
    if sense == "equal":
        return min(1.0, 2 * min(e.p_above(margin), e.p_below(-margin)))
    return e.p_below(-margin) if sense == "not worse" else e.p_above(margin)


def _kind(within: float | None, beyond: float | None, alpha: float) -> Kind:
    if within is not None and within < alpha:
        return "confirmed"
    return "contradicted" if beyond is not None and beyond < alpha else "undecided"


def power(e: Student | None, effect: float, unit: str = "points", family: int = 1) -> str:
    """What so many seeds would find, and the seeds that it takes to find `effect`; '' without an estimate."""
    if e is None:
        return ""
    pairs = round(e.df) + 1
    return power_text(detectable(e.se, e.df), effect, seeds_needed(effect, Noise(e.se**2 * pairs)), unit, family)


def power_text(
    found: float | None, effect: float | None, needed: int | None, unit: str = "points", family: int = 1
) -> str:
    """As a sentence; finding a difference of the margin is also what showing none of it takes, where there is none."""
    if found is None:
        return ""
    text = f"These seeds would find a true difference of {found:.2g} {unit} four times in five"
    if not effect:
        return f"{text}{uncorrected(family)}."
    takes = f"more than {MOST_SEEDS:,} seeds" if needed is None else f"{needed} seeds"
    return f"{text}; for {effect:.2g} {unit} it takes {takes}{uncorrected(family)}."


def interval(e: Student | None) -> str:
    """For reading: '+0.3 (-0.4 to +1.0)'."""
    return "no interval: one seed or no spread" if e is None else f"{e.value:+.2f} ({e.low:+.2f} to {e.high:+.2f})"
