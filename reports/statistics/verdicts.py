"""What each comparison shows: one claim as a short sentence, and notes of what else a reader must know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.core.looks import GUARD_SEEDS, TOLERATED_COLLAPSES
from harness.core.text import count_having
from reports.compare import NOT_RUN
from reports.statistics.comparisons import Comparison
from reports.statistics.equivalence import EQUIVALENCE_ALPHA, NON_INFERIORITY_ALPHA
from reports.statistics.power import ALPHA
from reports.statistics.testing import Tests

MAX_CHARACTERS = 120
"""Characters of a failed cell and its reason in a note."""
MAX_FAILED = 3
"""Failed cells that a note names."""
Kind = Literal[
    "better",
    "worse",
    "equivalent",
    "equivalent without collapses",
    "non-inferior",
    "non-inferior without collapses",
    "undecided",
    "one seed",
    "no spread",
    "unpaired",
    "failed",
]
WITHIN_MARGIN: Sequence[Kind] = (
    "equivalent",
    "equivalent without collapses",
    "non-inferior",
    "non-inferior without collapses",
)
"""Claims about the margin. Those without collapses rest on too few seeds to rule out that runs collapse unseen."""
NOT_SIGNIFICANT = "no significant difference"
WORDS: dict[Kind, str] = {"undecided": NOT_SIGNIFICANT}
"""How tables write a kind that is not its own word."""
FEW_SEEDS = (
    f"So few seeds cannot rule out that runs collapse: {GUARD_SEEDS} without a collapse show that fewer than "
    f"{100 * TOLERATED_COLLAPSES:.0f} % do."
)
LATE_MARGIN = "The margin was named after there were results: read it as a guess."
LATE_PRIMARY = "Post hoc: this comparison was declared primary after there were results."
NO_CLAIM: Mapping[Kind, str] = {
    "unpaired": "no two cells have the same seeds, data and scored rows",
    "one seed": "one paired seed has no spread",
    "no spread": "all paired seeds give the same difference",
}
"""Why there is no verdict; of failed cells see `format_claim`."""


@dataclass(frozen=True)
class Verdict:
    """`kind` for machines, `sentence` for people: one claim. `notes` are further short sentences, each one fact."""

    kind: Kind
    sentence: str
    notes: tuple[str, ...] = ()


def build_verdict(
    c: Comparison, tests: Tests, margin: float | None, late: bool = False, primary_late: bool = False
) -> Verdict:
    """The verdict of one comparison.

    `late`: the margin was named after results. `primary_late`: so were the primary comparisons.
    """
    kind = judge_kind(c, tests)
    notes = [LATE_PRIMARY] if primary_late and tests.role == "primary" else []
    notes += [*_list_missing_notes(kind, c), *_list_margin_notes(kind, c, tests, margin, late)]
    return Verdict(kind, format_claim(kind, c, margin), tuple(filter(None, notes)))


def judge_kind(c: Comparison, tests: Tests) -> Kind:
    """A cell that failed rules out any claim; then come difference, equivalence and non-inferiority, each adjusted."""
    if c.failed:
        return "failed"
    if c.estimate is None:
        return "unpaired" if c.pairs == 0 else "one seed" if c.pairs == 1 else "no spread"
    # a difference comes first: one that is significant may still lie within the margin
    if _is_below(tests.adjusted_p, ALPHA):
        return "better" if c.estimate.value > 0 else "worse"
    if _is_below(tests.equivalence_p, EQUIVALENCE_ALPHA):
        return "equivalent" if c.excludes_collapses else "equivalent without collapses"
    if _is_below(tests.non_inferiority_p, NON_INFERIORITY_ALPHA):
        return "non-inferior" if c.excludes_collapses else "non-inferior without collapses"
    return "undecided"


def build_failed_verdict(c: Comparison, notes: tuple[str, ...] = ()) -> Verdict:
    """The verdict of a comparison with a cell that has no score, whatever the tests say."""
    return Verdict("failed", format_claim("failed", c, None), (*_list_missing_notes("failed", c), *notes))


def _is_below(p: float | None, alpha: float) -> bool:
    return p is not None and p < alpha


def is_lost_to_correction(tests: Tests) -> bool:
    """Whether the interval excludes 0 though the adjusted p shows no difference."""
    return tests.p is not None and tests.adjusted_p is not None and tests.p < ALPHA <= tests.adjusted_p


def format_claim(kind: Kind, c: Comparison, margin: float | None) -> str:
    """One claim with its difference and interval, as a sentence."""
    place = f"the {c.place}" if c.whole else c.place
    if c.estimate is None or kind == "failed":
        # cancelled cells and scores that are not a number count too, so not "failed"
        count = f"{count_having(len(c.failed), 'cell')} no score"
        return f"No verdict on {c.method} against {c.first} on {place}: {NO_CLAIM.get(kind, count)}."
    equivalent = f"{c.method} is equivalent to {c.first} within {margin or 0.0:g} points on {place}"
    no_worse = f"{c.method} is not worse than {c.first} by {margin or 0.0:g} points on {place}"
    claims: Mapping[Kind, str] = {
        "better": f"{c.method} is better than {c.first} on {place}",
        "worse": f"{c.method} is worse than {c.first} on {place}",
        "equivalent": equivalent,
        "equivalent without collapses": f"{equivalent} where no run collapses",
        "non-inferior": no_worse,
        "non-inferior without collapses": f"{no_worse} where no run collapses",
        "undecided": f"{c.method} shows {NOT_SIGNIFICANT} to {c.first} on {place}",
    }
    # two one-sided tests of 5 % go by the 90 % interval: the 95 % interval may reach beyond the margin
    level = 0.9 if kind.startswith("equivalent") else 0.95
    low, high = c.estimate.compute_interval(level)
    interval = f"{100 * level:.0f} % interval {low:+.1f} to {high:+.1f}"
    return f"{claims[kind]}: {c.estimate.value:+.1f} points ({interval})."


def _list_missing_notes(kind: Kind, c: Comparison) -> Iterator[str]:
    """What the estimate lacks: failed cells, seeds, tasks, new examples."""
    if kind == "failed":
        more = f" and {len(c.failed) - MAX_FAILED} more" if len(c.failed) > MAX_FAILED else ""
        yield f"Without a score: {'; '.join(map(_truncate, c.failed[:MAX_FAILED]))}{more}."
    if c.pairs < c.asked and c.pairs > 0:
        yield f"{c.counted[0].upper()}{c.counted[1:]}."
    left_out = {task: why for task, why in c.missing.items() if why != NOT_RUN}
    if left_out:
        yield f"The mean leaves out {'; '.join(f'{task} ({why})' for task, why in left_out.items())}."
    if c.why and c.estimate is not None:
        yield f"New examples are not in the interval: {c.why}."


def _truncate(failure: str) -> str:
    """A cell with the start of its reason: the table of cells without a score has the whole."""
    return failure if len(failure) <= MAX_CHARACTERS else f"{failure[:MAX_CHARACTERS].rstrip()}…"


def _list_margin_notes(kind: Kind, c: Comparison, tests: Tests, margin: float | None, late: bool) -> Iterator[str]:
    """What correction, margin and collapses add to the claim."""
    if c.estimate is None or kind == "failed":
        return
    if is_lost_to_correction(tests):
        yield f"The interval excludes 0, but not after correction over {tests.family} comparisons ({tests.correction})."
    # without a margin there is no claim of equivalence to explain
    if margin is None:
        return
    is_within = _is_below(tests.equivalence_p, EQUIVALENCE_ALPHA)
    if kind in ("better", "worse") and is_within:
        yield f"The difference is smaller than the margin of {margin:g} points."
    elif kind in WITHIN_MARGIN:
        if kind.endswith("without collapses"):
            yield FEW_SEEDS
        yield c.collapsed
    elif kind == "undecided" and c.equivalence_refusal:
        yield f"No claim of equivalence: {c.short_refusal}."
    if late and kind != "undecided" and (is_within or kind in WITHIN_MARGIN):
        yield LATE_MARGIN


def describe_uncorrected(family: int) -> str:
    """What a sentence of power must add where its test is one of several: they need more seeds."""
    return " (for one test; Holm needs more)" if family > 1 else ""
