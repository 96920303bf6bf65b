"""What the command line prints: lines without control characters, and tables without markup.

Names of methods and tasks, paths, reasons and hypotheses come from users, plugins and stored files, so they may hold
anything. Every line and every table that the commands print goes through this module.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

UNLIMITED_WIDTH = 100_000
"""Columns of an imagined terminal on which every table fits: a table's least width is measured there."""


def escape_text(text: object) -> str:
    """The text with each control, formatting or unassigned character written as its escape: ESC as `\\x1b`.

    Line ends are escaped too. Spaces of any width stay.
    """
    written = str(text)
    if written.isprintable():  # nearly all are, and a report writes hundreds of thousands
        return written
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escape_character(c) for c in written)


def _escape_character(character: str) -> str:
    return character.encode("unicode_escape").decode()


def print_lines(lines: Iterable[object], stream: TextIO | None = None) -> None:
    """Print each item as one line; what the stream's encoding lacks is escaped."""
    target = stream or sys.stdout
    encoding = getattr(target, "encoding", None) or "utf-8"
    text = "".join(f"{escape_text(line)}\n" for line in lines)
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="", file=target, flush=True)


def align_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns padded with spaces; the first row is the head."""
    cells = [[escape_text(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]


def make_text(text: object, style: str = "") -> Text:
    """Text that rich prints as it is: no markup, no emoji codes, no control characters."""
    from rich.text import Text

    return Text(escape_text(text), style=style)


def make_table(
    rows: Sequence[Sequence[str]], left: Collection[int], title: str | None = None, caption: str | None = None
) -> Table:
    """A table of rich; the first row is the head, columns in `left` are flush left, others right."""
    from rich.table import Table

    table = Table(
        title=None if title is None else make_text(title, "table.title"),
        title_justify="left",
        caption=None if caption is None else make_text(caption, "table.caption"),
        caption_justify="left",
    )
    for i, name in enumerate(rows[0]):
        # an ellipsis would hide the end of a name, where the options are
        table.add_column(make_text(name), justify="left" if i in left else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(make_text, row))
    return table


def print_table(
    rows: Sequence[Sequence[str]], left: Collection[int], title: str | None = None, caption: str | None = None
) -> None:
    """Print a table to stdout: drawn where that is a terminal wide enough for its longest words, else plain lines."""
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        table = make_table(rows, left, title, caption)
        if _measure_width(table, console) <= console.width:
            console.print(table)
            return
    print_lines([*([] if title is None else [title]), *align_rows(rows), *([] if caption is None else [caption])])


def _measure_width(table: Table, console: Console) -> int:
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(max_width=UNLIMITED_WIDTH), table).minimum
