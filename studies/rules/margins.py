"""Tests of comparisons at a margin: significantly within it, significantly beyond it, or undecided.

not worse        beyond | -margin | within ...           not better       ... within | +margin | beyond
equal            beyond | -margin | within | +margin | beyond
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from reports.statistics.equivalence import EQUIVALENCE_ALPHA, NON_INFERIORITY_ALPHA, compute_equivalence_p
from reports.statistics.holm import apply_holm
from reports.statistics.power import DetectableRange, SeedRange, describe_power, describe_reach
from reports.statistics.student import Student
from reports.statistics.verdicts import describe_uncorrected
from studies.study import Kind

Sense = Literal["not worse", "equal", "not better"]
ALPHA = {"not worse": NON_INFERIORITY_ALPHA, "not better": NON_INFERIORITY_ALPHA, "equal": EQUIVALENCE_ALPHA}


def judge_estimates(
    estimates: Sequence[Student | None],
    margin: float,
    sense: Sense,
    others: Sequence[Student | None] = (),
    refused: Sequence[bool] = (),
) -> list[Kind]:
    """Confirmed: significantly within the margin in this sense. Contradicted: significantly beyond it. Else undecided.

    Both tests are one-sided, and each is a Holm family together with the `others` of the report. `refused`, by
    estimate: runs collapsed (see reports.statistics.collapse), so nothing is confirmed.
    """
    family = [*estimates, *others]
    within = apply_holm([None if e is None else _compute_p_within(e, margin, sense) for e in family])
    beyond = apply_holm([None if e is None else _compute_p_beyond(e, margin, sense) for e in family])
    # A collapse only forbids a confirmation: a method that is significantly worse stays contradicted.
    no_claim = refused or [False] * len(estimates)
    return [
        judge_kind(None if no else w, b, ALPHA[sense])
        for no, w, b in zip(no_claim, within[: len(estimates)], beyond[: len(estimates)], strict=True)
    ]


def _compute_p_within(e: Student, margin: float, sense: Sense) -> float:
    """p of the null hypothesis that the true difference is at or beyond the margin."""
    if sense == "equal":
        return compute_equivalence_p(e, margin)
    return e.p_above(-margin) if sense == "not worse" else e.p_below(margin)


def _compute_p_beyond(e: Student, margin: float, sense: Sense) -> float:
    """p of the null hypothesis that the true difference is at or within the margin."""
    if sense == "equal":
        # Twice the smaller p, because the difference may be beyond the margin on either side.
        return min(1.0, 2 * min(e.p_above(margin), e.p_below(-margin)))
    return e.p_below(-margin) if sense == "not worse" else e.p_above(margin)


def judge_kind(within: float | None, beyond: float | None, alpha: float) -> Kind:
    """The verdict of two opposite one-sided tests, each by its adjusted p; None: not tested."""
    if within is not None and within < alpha:
        return "confirmed"
    return "contradicted" if beyond is not None and beyond < alpha else "undecided"


def describe_estimate_power(e: Student | None, effect: float, unit: str = "points", family: int = 1) -> str:
    """The minimum detectable difference and the seeds needed for `effect`, as a sentence; '' without an estimate."""
    if e is None:
        return ""
    return _format_power_sentence(describe_reach(e, effect, unit), family)


def format_power(
    found: DetectableRange | None, effect: float | None, seeds: SeedRange | None, unit: str = "points", family: int = 1
) -> str:
    """The same from values. The seeds that detect a difference of the margin also suffice to rule one out."""
    return _format_power_sentence(describe_power(found, effect, seeds, unit), family)


def _format_power_sentence(words: str, family: int) -> str:
    return f"{words[0].upper()}{words[1:]}{describe_uncorrected(family)}." if words else ""


def format_interval(e: Student | None) -> str:
    """The estimate with its 95 % interval, such as '+0.30 (-0.40 to +1.00)'."""
    return "no interval: one seed or no spread" if e is None else f"{e.value:+.2f} ({e.low:+.2f} to {e.high:+.2f})"
