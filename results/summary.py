"""A run in a few lines, for notebooks and prompts: where it is, how many cells it has, and its methods by mean."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.core.profile import Profile
from harness.core.record import Record
from harness.core.terminal import align_rows, escape_text

MAX_LINES = 25
MAX_NAME = 60
"""Characters of a name that are shown; the frame and the report have it in full."""


def build_summary(records: Sequence[Record], profiles: Sequence[Profile]) -> list[list[str]]:
    """Head and rows of the ranking: the same means, intervals and counts as in the report."""
    from reports.cells import format_estimate
    from reports.compare import find_coverage
    from reports.frames import build_grids
    from reports.statistics.costs import find_cost
    from reports.statistics.ranking import estimate_overall

    grids = build_grids(records)
    rows = [["suite", "method", "mean", "of", "trainable parameters"]]
    for grid in grids:
        cover = find_coverage(grid, grid.averages[0])
        means = {method: estimate_overall(grid, method, cover) for method in grid.methods}
        ranked = sorted(grid.methods, key=lambda m, of=means: -of[m].mean if of[m] else float("inf"))  # type: ignore[misc]
        for method in ranked:
            parameters = find_cost(grid, method, profiles).trainable_parameters
            count = "-" if parameters is None else f"{parameters:,}"
            label = cover.label if cover.tasks else ", ".join(grid.tasks[:1])
            rows.append([grid.suite, _shorten(method), format_estimate(means[method]), label, count])
    return rows if len(grids) > 1 else [row[1:] for row in rows]


def describe_run(records: Sequence[Record], out: Path, report: Path | None = None) -> list[str]:
    """The lines above the ranking: counts, the folder and the report."""
    status = Counter(r.status for r in records)
    counts = ", ".join(f"{status[name]} {name}" for name in ("ok", "failed", "oom", "cancelled") if status[name])
    lines = [f"{len(records)} cell{'' if len(records) == 1 else 's'}: {counts or 'none'}", f"folder: {out}"]
    return [*lines, f"report: {report}"] if report else lines


def format_summary(lines: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """At most MAX_LINES lines of text."""
    room = MAX_LINES - len(lines) - 1
    shown = rows if len(rows) <= room else rows[: room - 1]
    aligned = align_rows([[escape_text(cell) for cell in row] for row in shown])
    hidden = [f"and {len(rows) - len(shown)} more methods"] if len(shown) < len(rows) else []
    return "\n".join([*map(escape_text, lines), "", *aligned, *hidden])


def format_summary_html(lines: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The lines and the table as HTML; names are escaped."""
    head, *body = [[html.escape(escape_text(cell)) for cell in row] for row in rows]
    start = "".join(f"<div>{html.escape(escape_text(line))}</div>" for line in lines)
    cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body[: MAX_LINES - 5])
    hidden = len(body) - (MAX_LINES - 5)
    more = f"<div>and {hidden} more methods</div>" if hidden > 0 else ""
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    return f"{start}<table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table>{more}"


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
