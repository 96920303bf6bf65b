"""How methods were tuned: what was chosen at what cost, and what a smaller budget would have found."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.core.record import Record
from harness.core.tuned import Trial, Tuned
from reports.document import Findings, Rows

FAILED_SCORE = 0.0
"""Points that a trial without a score counts as, where what a budget finds is estimated."""


def add_tuning(findings: Findings, records: Sequence[Record], tuned: Sequence[Tuned]) -> Findings:
    """The findings with the tables of tuning, and what the figure needs, where the records were tuned."""
    if not tuned or not any(r.cell.protocol.name == "tuned" for r in records):
        return findings
    tables = [*findings.tables, ("Tuning", build_chosen_table(tuned), _list_notes(tuned), "tuning")]
    tables.append(("Best validation score to expect, by trials", build_budget_table(tuned), [BUDGET_NOTE], "tuning"))
    return dataclasses.replace(findings, tables=tables, tuned=tuple(tuned))


def compute_expected_best(scores: Sequence[float], budget: int) -> float:
    """Mean of the best of `budget` draws with replacement from the scores (arXiv 1909.03004, section 3)."""
    n = len(scores)
    return sum(v * ((i / n) ** budget - ((i - 1) / n) ** budget) for i, v in enumerate(sorted(scores), start=1))


def compute_budget_curve(tuned: Tuned) -> list[float]:
    """Expected best validation score for each budget from 1 trial to all of them."""
    # a search that fails often must not look better than one that never fails
    scores = [FAILED_SCORE if trial.score is None else trial.score for trial in tuned.trials]
    return [compute_expected_best(scores, budget) for budget in range(1, len(scores) + 1)]


def build_chosen_table(tuned: Sequence[Tuned]) -> Rows:
    """One row per method and task: what was tried, what was chosen, and what it cost."""
    return [_build_row(t) for t in tuned]


def _build_row(tuned: Tuned) -> dict[str, str | int | float | None]:
    # every trial may have failed
    best = None if tuned.best is None else tuned.trials[tuned.best]
    return {
        "suite": tuned.suite,
        "tuned on": ", ".join(tuned.tasks),
        "method": tuned.method,
        "trials": len(tuned.trials),
        "failed": sum(trial.score is None for trial in tuned.trials),
        "searched": ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in tuned.ranges.items()),
        "chosen": "-" if best is None else _format_values(best),
        "at the edge": ", ".join(_format_edge(name, which) for name, which in tuned.edges.items()) or "no",
        "validation score": None if best is None else best.score,
        "declared values": tuned.trials[0].score,
        "steps": sum(trial.steps for trial in tuned.trials),
        "seconds": round(sum(trial.seconds for trial in tuned.trials), 1),
    }


def _format_values(trial: Trial) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in trial.values.items())


def _format_edge(name: str, which: str) -> str:
    return f"{name} ({which} tried)"


def _describe_seeds(tuned: Sequence[Tuned]) -> str:
    """How many cells each trial is the mean of, on each of its tasks."""
    counts = sorted({len(trial.keys) // len(t.tasks) for t in tuned for trial in t.trials})
    if counts in ([], [1]):
        return "one seed"
    return f"the mean over {' or '.join(map(str, counts))} seeds"


def _list_notes(tuned: Sequence[Tuned]) -> list[str]:
    """What the table means, and the optima that may lie beyond what was tried."""
    notes = [
        "Each method had the same number of trials: its declared values, then points of one Sobol sequence in its own "
        f"range. Scores are of {_describe_seeds(tuned)}, on a part of the train rows; no row of the dev set had "
        "a say in "
        "the choice among them. Seconds are shares of packs, and trials without a score count as trials."
    ]
    places = [f"{t.method} on {', '.join(t.tasks)} ({', '.join(t.edges)})" for t in tuned if t.edges]
    if places:
        notes.append(f"At the edge of what was tried, so that a better value may lie beyond: {'; '.join(places)}.")
    return notes


BUDGET_NOTE = (
    "arXiv 1909.03004: the mean of the best of so many trials, drawn with replacement from those made; a trial without "
    "a score counts as 0 points. It says what a search of that size finds on the validation part, not how well it "
    "does on the dev set."
)
MAX_BUDGETS = 8
"""Columns of the table of budgets at most; the figure has each."""


def list_budgets(most: int) -> list[int]:
    """1, 2, 4 and so on, and the whole."""
    every = range(1, most + 1)
    return list(every) if most <= MAX_BUDGETS else sorted({b for b in every if b & (b - 1) == 0} | {most})


def build_budget_table(tuned: Sequence[Tuned]) -> Rows:
    """One row per method and task, one column per budget."""
    columns = list_budgets(max(len(t.trials) for t in tuned))
    rows = []
    for search in tuned:
        values = compute_budget_curve(search)
        labels = {"suite": search.suite, "tuned on": ", ".join(search.tasks), "method": search.method}
        rows.append(labels | {str(b): f"{values[b - 1]:.1f}" if b <= len(values) else "-" for b in columns})
    return rows
