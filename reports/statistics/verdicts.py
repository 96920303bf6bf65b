"""Plain sentences: what a comparison shows, and what it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports.statistics.comparisons import Comparison
from reports.statistics.equivalence import EQUIVALENCE_ALPHA, NON_INFERIORITY_ALPHA
from reports.statistics.power import ALPHA, describe_power
from reports.statistics.testing import Tests

MAX_CHARACTERS = 120
"""Characters of a failed cell and its reason in a sentence."""
Kind = Literal[
    "better", "worse", "equivalent", "non-inferior", "undecided", "one seed", "no spread", "unpaired", "failed"
]
NOT_SIGNIFICANT = "no significant difference"
WORDS: dict[Kind, str] = {"undecided": NOT_SIGNIFICANT}
"""How tables write a kind that is not its own word."""


@dataclass(frozen=True)
class Verdict:
    """`kind` for machines, `sentence` for people."""

    kind: Kind
    sentence: str


def build_verdict(c: Comparison, tests: Tests, margin: float | None, saved: str = "", late: bool = False) -> Verdict:
    """The verdict of one comparison; `saved`: the sentence of savings; `late`: the margin was named after results."""
    kind = judge_kind(c, tests)
    parts = [_format_claim(kind, c, tests, margin), _describe_missing(c)]
    if kind in ("better", "worse", "equivalent", "non-inferior", "undecided"):
        parts += [
            _describe_unadjusted(c, tests),
            _describe_margin(kind, tests, margin, late),
            _describe_collapses(kind, c, margin),
        ]
        parts += [_describe_power(tests) if kind == "undecided" else "", _describe_unseen(c), saved]
    return Verdict(kind, " ".join(part for part in parts if part))


def judge_kind(c: Comparison, tests: Tests) -> Kind:
    """A cell that failed rules out any claim; then come difference, equivalence and non-inferiority, Holm-corrected."""
    if c.failed:
        return "failed"
    if c.estimate is None:
        return "unpaired" if c.pairs == 0 else "one seed" if c.pairs == 1 else "no spread"
    if tests.adjusted_p is not None and tests.adjusted_p < ALPHA:
        return "better" if c.estimate.value > 0 else "worse"
    if _is_below(tests.equivalence_p, EQUIVALENCE_ALPHA):
        return "equivalent"
    return "non-inferior" if _is_below(tests.non_inferiority_p, NON_INFERIORITY_ALPHA) else "undecided"


def _is_below(p: float | None, alpha: float) -> bool:
    return p is not None and p < alpha


def _format_claim(kind: Kind, c: Comparison, tests: Tests, margin: float | None) -> str:
    place = f"the {c.place}" if c.whole else c.place
    who, numbers = f"{c.method} and {c.first} on {place}", _format_numbers(kind, c, tests)
    claims = {
        "better": f"{c.method} is better than {c.first} on {place}: {numbers}.",
        "worse": f"{c.method} is worse than {c.first} on {place}: {numbers}.",
        "equivalent": f"{who} are equivalent within the margin of {_format_points(margin)}: {numbers}.",
        "non-inferior": (
            f"{c.method} is not worse than {c.first} on {place} by the margin of {_format_points(margin)}: {numbers}."
        ),
        "undecided": f"{who}: {NOT_SIGNIFICANT} (equivalence not shown): {numbers}.",
    }
    return claims[kind] if kind in claims else _format_no_verdict(kind, c, who)


def _format_no_verdict(kind: Kind, c: Comparison, who: str) -> str:
    difference_note = (
        ""
        if c.difference is None
        else f" The {_format_count(c)} that {_pick_have(c)} a score differ by {c.difference:+.1f} points."
    )
    if kind == "failed":
        more = f" and {len(c.failed) - 3} more" if len(c.failed) > 3 else ""
        few = "; ".join(_truncate(cell_text) for cell_text in c.failed[:3])
        count = f"{len(c.failed)} cell{'' if len(c.failed) == 1 else 's'} failed"
        return f"No verdict on {who}: {count} ({few}{more}).{difference_note}"
    if kind == "unpaired":
        return f"No verdict on {who}: no two cells have the same seeds, data and scored rows."
    if kind == "one seed":
        return (
            f"No verdict on {who}: {_format_gap(c)} with one paired seed, and one value has no spread to "
            "make an interval of."
        )
    return (
        f"No verdict on {who}: {_format_gap(c)} with each of {c.pairs} paired seeds; without spread there is "
        "no interval."
    )


def _truncate(told: str) -> str:
    """A cell with the start of its reason: the table of cells without a score has the whole."""
    return told if len(told) <= MAX_CHARACTERS else f"{told[:MAX_CHARACTERS].rstrip()}…"


def _format_gap(c: Comparison) -> str:
    return f"a difference of {c.difference or 0.0:+.1f} points"


def _format_count(c: Comparison) -> str:
    return f"{c.pairs} of {c.asked} pairs"


def _pick_have(c: Comparison) -> str:
    return "has" if c.pairs == 1 else "have"


def _format_numbers(kind: Kind, c: Comparison, tests: Tests) -> str:
    """The p shown is that of the claim: of a difference, of equivalence or of non-inferiority."""
    if c.estimate is None:
        return ""
    e = c.estimate
    interval = f"95 % interval {e.low:+.1f} to {e.high:+.1f} for {c.target}"
    if kind == "equivalent":  # what the two one-sided tests of 5 % go by; the wider one may reach beyond the margin
        low, high = e.compute_interval(0.9)
        interval = f"90 % interval {low:+.1f} to {high:+.1f}, {interval}"
    p = {"equivalent": tests.equivalence_p, "non-inferior": tests.non_inferiority_p}.get(kind, tests.adjusted_p)
    p_text = f"adjusted {_format_p(p)} (Holm, {tests.family} comparisons)" if tests.family > 1 else _format_p(p)
    flips = "" if c.sign_flip is None else f"; sign-flip test {_format_p(c.sign_flip)}, not adjusted"
    return f"{e.value:+.1f} points ({interval}; {c.counted}; {p_text}{flips})"


def _format_p(p: float | None) -> str:
    return "p < 0.001" if p is not None and p < 0.001 else f"p = {1.0 if p is None else p:.3f}"


def _format_points(margin: float | None) -> str:
    return f"{margin or 0.0:g} points"


def _describe_unadjusted(c: Comparison, tests: Tests) -> str:
    """Where an interval by itself excludes 0 and the corrected test does not."""
    if tests.p is None or tests.adjusted_p is None or not tests.p < ALPHA <= tests.adjusted_p:
        return ""
    return f"By itself the interval excludes 0; among {tests.family} comparisons that is not enough."


def _describe_collapses(kind: Kind, c: Comparison, margin: float | None) -> str:
    """How many runs collapsed, what that allows, and why no equivalence is claimed where it was tested."""
    tested = kind == "undecided" and margin is not None
    refused = (
        f"Neither equivalence nor non-inferiority is claimed: {c.equivalence_refusal}."
        if tested and c.equivalence_refusal
        else ""
    )
    if kind in ("equivalent", "non-inferior"):
        refused = "The claim is for runs that do not collapse."
    return f"{refused} {c.collapsed}".strip()


def _describe_margin(kind: Kind, tests: Tests, margin: float | None, late: bool) -> str:
    """What else the margin says, and that there is none."""
    if margin is None:
        return "" if kind in ("better", "worse") else "No margin was named (--margin), so equivalence was not tested."
    late_note = "The margin was named after there were results: read it as a guess." if late else ""
    if kind in ("better", "worse") and _is_below(tests.equivalence_p, EQUIVALENCE_ALPHA):
        return f"The difference is smaller than the margin of {_format_points(margin)}. {late_note}".strip()
    if kind == "worse" and _is_below(tests.non_inferiority_p, NON_INFERIORITY_ALPHA):
        return f"It is worse by less than the margin of {_format_points(margin)}. {late_note}".strip()
    return late_note if kind in ("equivalent", "non-inferior") else ""


def _describe_power(tests: Tests) -> str:
    words = describe_power(tests.power, tests.effect, tests.seeds)
    return f"{words[0].upper()}{words[1:]}{describe_uncorrected(tests.family)}." if words else ""


def describe_uncorrected(family: int) -> str:
    """What a sentence of power must add where its test is one of several: they need more seeds."""
    return " (for one test; Holm needs more)" if family > 1 else ""


def _describe_missing(c: Comparison) -> str:
    if not c.missing:
        return ""
    why = "; ".join(f"{task}: {reason}" for task, reason in c.missing.items())
    return f"The mean is over {', '.join(c.tasks) or 'no task'} only ({why})."


def _describe_unseen(c: Comparison) -> str:
    """Why the interval knows nothing of new examples."""
    return f"New examples are not in the interval: {c.why}." if c.why else ""
