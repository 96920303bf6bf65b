"""The ranking of a suite in five columns: for LaTeX, and in Markdown for a README."""

from __future__ import annotations

from harness.core.text import format_bytes
from reports.cells import format_estimate
from reports.document import LinkedText, RankingView, Table
from reports.escape import escape_markdown
from reports.statistics.ranking import Ranking, RankingRow
from reports.statistics.student import Student

MEAN_NOTE = (
    "\u00b1: half of the 95 % interval over new seeds. Differences are paired by seed, with 95 % intervals that are "
    "not corrected for multiple comparisons. Trainable parameters exclude the head."
)


def build_print_table(ranking: Ranking) -> Table:
    """Method, trainable parameters, mean, difference to the baseline and peak memory; the highest mean first.

    The highest mean is marked as the best, unless there is only one.
    """
    head = ("method", "trainable parameters", ranking.average or "mean", f"difference to {ranking.baseline}")
    best = find_best(ranking)
    rows = [
        (
            LinkedText(row.method, method=row.method),
            "-" if row.trainable_parameters is None else f"{row.trainable_parameters:,}",
            LinkedText(format_estimate(row.mean), best=row is best),
            "" if row.method == ranking.baseline else format_difference(row.difference),
            format_bytes(row.peak_bytes) if row.peak_bytes else "-",
        )
        for row in ranking.rows
    ]
    notes = [*ranking.caveats, MEAN_NOTE]
    return Table(f"Ranking, {ranking.suite}", (*head, "peak memory"), rows, notes, topic="ranking")


def format_difference(value: Student | None) -> str:
    """'+3.0 (+0.7 to +5.3)'."""
    return "-" if value is None else f"{value.value:+.1f} ({value.low:+.1f} to {value.high:+.1f})"


def find_best(ranking: Ranking) -> RankingRow | None:
    """The method with the highest mean; None where there is none, or only one method."""
    ranked = [row for row in ranking.rows if row.mean is not None]
    return ranked[0] if len(ranked) > 1 else None


def render_readme_table(view: RankingView) -> str:
    """The ranking in Markdown, ready for a README: the highest mean in bold, numbers to the right, then the answer."""
    table = view.print_table
    lines = [_format_row([escape_markdown(text) for text in table.head]), "|---|---:|---:|---:|---:|"]
    for cells in table.rows:
        lines.append(_format_row([_format_cell(cell) for cell in cells]))
    notes = [escape_markdown(note) for note in (view.answer, *table.notes)]
    return "\n".join([*lines, "", *"\n\n".join(notes).split("\n")]) + "\n"


def _format_cell(cell: str) -> str:
    text = escape_markdown(cell)
    return f"**{text}**" if isinstance(cell, LinkedText) and cell.best else text


def _format_row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"
