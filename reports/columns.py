"""Rows as aligned columns for a pipe, or as a drawn table for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns padded with spaces; the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def drawn(
    rows: Sequence[Sequence[str]], left: Collection[int], title: str | None = None, caption: str | None = None
) -> Table:
    """A table of rich; columns in `left` are flush left, others right."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for i, name in enumerate(rows[0]):
        table.add_column(name, justify="left" if i in left else "right")
    for row in rows[1:]:
        table.add_row(*row)
    return table
