"""One imported row as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.core.terminal import escape_text
from results.imports.base import ImportedRow
from results.imports.settings import flatten_settings

WIDTH = 12
"""Columns of the title of a part; the values stand to the right of it."""


def format_row(row: ImportedRow) -> Iterator[str]:
    """Provenance first: whoever reads a score must know that it was not measured here."""
    yield escape_text(f"{row.key}: {row.benchmark}, {row.name}, {row.status}; imported, not measured here")
    yield from _format_part("provenance", row.provenance.model_dump())
    yield from _format_part("scores", {**row.scores, "questions": row.questions, "reason": row.reason})
    yield from _format_part("model", {"base": row.model, "hardware": row.hardware, **row.software})
    yield from _format_part("settings", flatten_settings(row.settings))
    yield from _format_part("costs", row.costs)
    curve = row.loss_curve
    ends = [f"{loss:.4f} at step {step}" for step, loss in dict.fromkeys([curve[0], curve[-1]])] if curve else []
    yield from _format_part("training", {"loss": ", ".join(ends)})
    yield from _format_part("answers", row.answers.model_dump() if row.answers else {})


def _format_part(title: str, values: Mapping[str, Any]) -> Iterator[str]:
    fields = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    for i, (name, value) in enumerate(fields.items()):
        text = f"{value:.15g}" if isinstance(value, float) else value
        text = " ".join(map(str, text)) if isinstance(text, list) else text
        yield f"{title if i == 0 else '':{WIDTH}} {escape_text(name):34} {escape_text(text)}"
