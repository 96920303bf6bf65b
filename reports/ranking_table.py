"""The ranking of a suite as a table: for a README in Markdown, and for LaTeX."""

from __future__ import annotations

from harness.core.text import format_bytes
from reports.document import LinkedText, Table
from reports.escape import escape_markdown
from reports.statistics.ranking import Ranking, RankingRow
from reports.statistics.student import Estimate, Student

MEAN_NOTE = (
    "\u00b1: half of the 95 % interval over new seeds. Differences are paired by seed, with 95 % intervals that are "
    "not corrected for multiple comparisons. Trainable parameters exclude the head."
)


def build_ranking_table(ranking: Ranking) -> Table:
    """Method, trainable parameters, mean, difference to the baseline and peak memory; the highest mean first."""
    head = ("method", "trainable parameters", ranking.average, f"difference to {ranking.baseline}", "peak memory")
    rows = [
        (
            LinkedText(row.method, method=row.method),
            "-" if row.trainable_parameters is None else f"{row.trainable_parameters:,}",
            format_mean(row.mean),
            "" if row.method == ranking.baseline else format_difference(row.difference),
            format_bytes(row.peak_bytes) if row.peak_bytes else "-",
        )
        for row in ranking.rows
    ]
    return Table(f"Ranking, {ranking.suite}", head, rows, [ranking.answer, *ranking.caveats, MEAN_NOTE])


def format_mean(value: Estimate | None) -> str:
    """'67.3 \u00b1 2.1', without the interval where there is none."""
    if value is None:
        return "-"
    return f"{value.mean:.1f}" if value.half is None else f"{value.mean:.1f} \u00b1 {value.half:.1f}"


def format_difference(value: Student | None) -> str:
    """'+3.0 (+0.7 to +5.3)'."""
    return "-" if value is None else f"{value.value:+.1f} ({value.low:+.1f} to {value.high:+.1f})"


def render_readme_table(ranking: Ranking) -> str:
    """The ranking in Markdown, ready for a README: the highest mean in bold, numbers to the right, then the answer."""
    table = build_ranking_table(ranking)
    best = find_best(ranking)
    lines = [_format_row([escape_markdown(text) for text in table.head]), "|---|---:|---:|---:|---:|"]
    for row, cells in zip(ranking.rows, table.rows, strict=True):
        texts = [escape_markdown(text) for text in cells]
        if row is best:
            texts[2] = f"**{texts[2]}**"
        lines.append(_format_row(texts))
    notes = [escape_markdown(note) for note in table.notes]
    return "\n".join([*lines, "", *"\n\n".join(notes).split("\n")]) + "\n"


def find_best(ranking: Ranking) -> RankingRow | None:
    """The method with the highest mean; None where there is none, or only one method."""
    ranked = [row for row in ranking.rows if row.mean is not None]
    return ranked[0] if len(ranked) > 1 else None


def _format_row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"
