"""Output of the command line: lines without control characters, and tables without markup.

Names, paths, reasons and generated texts come from users, plugins and stored files, so they may contain anything,
escape sequences included. Every line and every table that a command prints goes through this module.
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
"""Columns of a virtual terminal on which every table fits, to measure the minimum width of a table."""


def escape_text(text: object) -> str:
    """The text with control, formatting and unassigned characters escaped, such as ESC to `\\x1b`.

    Line ends are escaped too. Spaces of any width stay.
    """
    written = str(text)
    # the fast path: a report escapes hundreds of thousands of texts, and nearly all are printable
    if written.isprintable():
        return written
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escape_character(c) for c in written)


def _escape_character(character: str) -> str:
    return character.encode("unicode_escape").decode()


def print_lines(lines: Iterable[object], stream: TextIO | None = None) -> None:
    """Print each item as one line; characters that the stream cannot encode are escaped."""
    target = stream or sys.stdout
    encoding = getattr(target, "encoding", None) or "utf-8"
    text = "".join(f"{escape_text(line)}\n" for line in lines)
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="", file=target, flush=True)


def align_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines with aligned columns; the first row is the head."""
    cells = [list(map(escape_text, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines


def make_text(text: object, style: str = "") -> Text:
    """A text that rich prints verbatim: no markup, no emoji codes, no control characters."""
    from rich.text import Text

    return Text(escape_text(text), style=style)


def make_table(
    rows: Sequence[Sequence[str]], left: Collection[int], title: str | None = None, caption: str | None = None
) -> Table:
    """A rich table. The first row is the head; the columns in `left` are left-aligned, all others right-aligned."""
    from rich.table import Table

    table = Table(
        title=None if title is None else make_text(title, "table.title"),
        title_justify="left",
        caption=None if caption is None else make_text(caption, "table.caption"),
        caption_justify="left",
    )
    for i, name in enumerate(rows[0]):
        # fold, for an ellipsis would hide the end of a name, where the options are
        table.add_column(make_text(name), justify="left" if i in left else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(make_text, row))
    return table


def print_table(
    rows: Sequence[Sequence[str]], left: Collection[int], title: str | None = None, caption: str | None = None
) -> None:
    """Print a table to stdout: drawn with lines on a terminal, as plain aligned text elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        table = make_table(rows, left, title, caption)
        # on a terminal that is too narrow rich would break words in the middle
        if _measure_width(table, console) <= console.width:
            console.print(table)
            return
    print_lines([*([] if title is None else [title]), *align_rows(rows), *([] if caption is None else [caption])])


def _measure_width(table: Table, console: Console) -> int:
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(max_width=UNLIMITED_WIDTH), table).minimum
