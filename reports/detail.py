"""One seed pair at a time, for the end of a report: a test of two trained models, never pooled over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.cells import format_p
from reports.document import Extra, Rows

MAX_ROWS = 120
"""Rows of a table; its file has all."""
SINGLE_PAIR_NOTE = (
    "Each row is two trained models on new examples: it says nothing of other seeds, its p is not corrected, and rows "
    "are not to be pooled."
)


def build_pair_tables(rows: Rows) -> list[Extra]:
    """Paired bootstrap over examples, and McNemar's test where predictions are classes."""
    display_rows = [
        {
            **_get_names(row),
            "split": row["split"],
            "difference": f"{row['difference']:+.1f}",
            "95 % interval": "-" if row["low"] is None else f"{row['low']:+.1f} to {row['high']:+.1f}",
            "only method right": row.get("only_method_right"),
            "only other right": row.get("only_first_right"),
            "McNemar p": format_p(row.get("mcnemar_p")) or "-",
        }
        for row in rows[:MAX_ROWS]
    ]
    notes = [
        SINGLE_PAIR_NOTE,
        "Interval: t-interval over examples (infinitesimal jackknife). McNemar: exact, where predictions are classes.",
    ]
    return [("Seed pairs", display_rows, notes + _describe_omitted("pairs", rows), "examples")] if display_rows else []


def build_translation_tables(rows: Rows) -> list[Extra]:
    """sacrebleu's two tests."""
    display_rows = [
        {
            **_get_names(row),
            "metric": row.get("metric"),
            "method's": _format_score(row.get("of_method")),
            "other's": _format_score(row.get("of_first")),
            "randomisation p": format_p(row.get("randomisation_p")) or "-",
            "bootstrap p": format_p(row.get("bootstrap_p")) or "-",
        }
        for row in rows
        if "why" not in row
    ][:MAX_ROWS]
    notes = [SINGLE_PAIR_NOTE, "sacrebleu's paired approximate randomisation and paired bootstrap, 1,000 draws each."]
    # one line per reason: a reason often holds for all pairs
    reasons = [row["why"] for row in rows if "why" in row]
    notes += [f"Not tested: {reasons.count(why)} seed pairs ({why})." for why in dict.fromkeys(reasons)]
    if not display_rows:
        return []
    return [
        (
            "Seed pairs of translations",
            display_rows,
            notes + _describe_omitted("translations", [r for r in rows if "why" not in r]),
            "examples",
        )
    ]


def _get_names(row: Any) -> dict[str, Any]:
    names = ("suite", "task", "method")
    return {name: row[name] for name in names} | {"against": row["first"], "seeds": row["seeds"]}


def _format_score(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _describe_omitted(name: str, rows: Sequence[Any]) -> list[str]:
    return [f"{len(rows) - MAX_ROWS} more rows are in {name}.csv."] if len(rows) > MAX_ROWS else []
