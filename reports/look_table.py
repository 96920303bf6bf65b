"""The table of the looks of an automatic number of seeds: what each has shown of each primary comparison."""

from __future__ import annotations

from typing import Any

from harness.core.looks import LookedComparison
from reports.cells import format_p
from reports.document import Extra
from reports.statistics.families import Question

LOOKS_NOTE = (
    "Of each look at the primary comparisons: the difference over seeds without a collapsed run with its interval "
    "under repeated looks (95 %; 90 % where it decides equivalence; for new seeds on these examples, at all looks "
    "together), and p under repeated looks, adjusted by Holm: of no difference, collapsed runs included, and of no "
    "equivalence, which also needs enough seeds without a collapse. A decided comparison keeps its row."
)
FIXED_NOTE = (
    "The number of seeds was automatic: p, interval and verdict of the primary comparisons are those under repeated "
    "looks, for new seeds on these examples. Those of the others are for a fixed number of seeds, so read them as "
    "descriptions."
)


def build_look_table(question: Question) -> list[Extra]:
    """One row per look and comparison; nothing for a fixed number of seeds."""
    several = len({one.suite for look in question.looks for one in look.comparisons}) > 1
    rows: list[dict[str, Any]] = []
    for look in question.looks:
        for one in look.comparisons:
            # what an earlier look has decided stands there
            if one.seeds == look.seeds:
                rows.append(({"suite": one.suite} if several else {}) | _build_row(one))
    return [("Looks of the automatic number of seeds", rows, [LOOKS_NOTE], "comparisons")] if rows else []


def _build_row(one: LookedComparison) -> dict[str, Any]:
    return {
        "seeds": one.seeds,
        "on": one.place,
        "method": one.method,
        "against": one.first,
        "difference": "" if one.difference_of_stable is None else f"{one.difference_of_stable:+.2f}",
        "interval": "" if one.low is None else f"{one.low:+.2f} to {one.high:+.2f}",
        "p": format_p(one.p),
        "p of no equivalence": format_p(one.equivalence_p),
        "seeds with a collapse": f"{one.collapsed} of {one.pairs}, {one.collapsed_first} of {one.pairs}",
        "decision": one.decision,
        "why open": one.why,
    }
