"""Output of the command line: lines without control characters, and tables without markup.

Names, paths, reasons and generated texts come from users, plugins and stored files, so they may contain anything,
escape sequences included. Every line and every table that a command prints goes through this module.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

UNLIMITED_WIDTH = 100_000
"""Columns of a virtual terminal on which every table fits, to measure the minimum width of a table."""

WRAPPED_WIDTH = 26
"""Columns of a terminal that a text of a table has at least; a shorter text stands on one line."""

MOST_ROWS = 40
"""Rows of a table on a terminal: nobody reads hundreds of them there."""

HEAD_WIDTH = 12
"""Columns in which the head of a table may stand, even if all cells below it are shorter."""


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
    rows: Sequence[Sequence[str]],
    left: Collection[int],
    title: str | None = None,
    caption: str | None = None,
    choose_style: Callable[[str], str] = lambda cell: "",
) -> Table:
    """A rich table. The first row is the head; the columns in `left` are left-aligned, all others right-aligned.

    `choose_style` gives the style that rich writes a cell in.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=None if title is None else make_text(title, "table.title"),
        title_justify="left",
        caption=None if caption is None else make_text(caption, "table.caption"),
        caption_justify="left",
    )
    for i, name in enumerate(rows[0]):
        longest = max((len(escape_text(row[i])) for row in rows[1:]), default=0)
        head = textwrap.wrap(
            escape_text(name), max(longest, HEAD_WIDTH), break_long_words=False, break_on_hyphens=False
        ) or [""]
        # numbers and names stand on one line; long texts wrap between words, but not to a column of single words
        wraps = i > 0 and longest > WRAPPED_WIDTH
        needed = WRAPPED_WIDTH if wraps else longest
        # fold, for an ellipsis would hide the end of a name, where the options are
        table.add_column(
            Text("\n".join(head)),
            justify="left" if i in left else "right",
            overflow="fold",
            min_width=max(needed, *map(len, head)),
        )
    for row in rows[1:]:
        table.add_row(*(make_text(cell, choose_style(cell)) for cell in row))
    return table


def limit_rows(
    rows: Sequence[Sequence[str]], all_in: str, choose_first: Callable[[Sequence[str]], bool] = lambda row: False
) -> tuple[list[Sequence[str]], str | None]:
    """The head and at most `MOST_ROWS` rows for a terminal, and a caption: how many are left out, and `all_in`.

    Of too many those of `choose_first` come before others in the choice; the order stays.
    """
    head, *body = rows
    if len(body) <= MOST_ROWS:
        return list(rows), None
    places = sorted(range(len(body)), key=lambda i: not choose_first(body[i]))[:MOST_ROWS]
    left_out = len(body) - MOST_ROWS
    return [head, *(body[i] for i in sorted(places))], f"{left_out:,} more rows are left out here: {all_in} has all."


def print_table(
    rows: Sequence[Sequence[str]],
    left: Collection[int],
    title: str | None = None,
    caption: str | None = None,
    *,
    drop: Sequence[str] = (),
    choose_style: Callable[[str], str] = lambda cell: "",
) -> None:
    """Print a table to stdout: drawn with lines on a terminal, as plain aligned text elsewhere.

    On a terminal that is too narrow the columns in `drop` are left out, the first of them first, and the caption names
    them. If it is too narrow even so, each row becomes a block with one value per line. Nothing is cut.
    """
    if not sys.stdout.isatty():
        print_lines([*([] if title is None else [title]), *align_rows(rows), *([] if caption is None else [caption])])
        return
    from rich.console import Console

    Console(highlight=False).print(fit_table(rows, left, title, caption, drop=drop, choose_style=choose_style))


def fit_table(
    rows: Sequence[Sequence[str]],
    left: Collection[int],
    title: str | None = None,
    caption: str | None = None,
    *,
    drop: Sequence[str] = (),
    choose_style: Callable[[str], str] = lambda cell: "",
) -> Table | Text:
    """What print_table draws on a terminal of this width."""
    from rich.console import Console

    console = Console()
    dropped = [name for name in drop if name in rows[0]]
    for count in range(len(dropped) + 1):
        kept = [i for i, name in enumerate(rows[0]) if name not in dropped[:count]]
        parts = [[row[i] for i in kept] for row in rows]
        note = _add_dropped(caption or "", dropped[:count])
        table = make_table(parts, {kept.index(i) for i in left if i in kept}, title, note or None, choose_style)
        if _measure_width(table, console) <= console.width:
            return table
    lines = [*([] if title is None else [title]), *stack_rows(rows), *([] if caption is None else [caption])]
    wrapped = [part for line in lines for part in _wrap_line(escape_text(line), console.width)]
    return make_lines(wrapped)


def make_lines(lines: Iterable[object]) -> Text:
    """Lines as one text that rich prints verbatim."""
    from rich.text import Text

    return Text("\n".join(escape_text(line) for line in lines))


def _add_dropped(caption: str, names: Sequence[str]) -> str:
    if not names:
        return caption
    end = "" if not caption else " " if caption.endswith(".") else ". "
    return f"{caption}{end}Left out at this width: {', '.join(names)}."


def stack_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """Each row as a block: its first cell, then one line per further cell that is not empty."""
    lines = []
    width = max((len(escape_text(name)) for name in rows[0][1:]), default=0)
    for row in rows[1:]:
        lines.append(escape_text(row[0]))
        values = zip(rows[0][1:], row[1:], strict=True)
        lines += [f"  {escape_text(name):{width}}  {escape_text(value)}" for name, value in values if value]
    return lines


def print_wrapped(lines: Iterable[object], stream: TextIO | None = None) -> None:
    """Print lines; on a terminal a line that is too long continues below its last column, or indented by two."""
    target = stream or sys.stdout
    if not target.isatty():
        print_lines(lines, target)
        return
    width = shutil.get_terminal_size().columns
    for line in lines:
        print_lines(_wrap_line(escape_text(line), width), target)


def print_styled(text: object, style: str) -> None:
    """Print a text to stdout, on a terminal in a style of rich such as 'bold green'; NO_COLOR is respected."""
    if not sys.stdout.isatty():
        print_lines([text])
        return
    from rich.console import Console

    Console(highlight=False).print(make_text(text, style))


def _wrap_line(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    # two spaces separate columns: what follows the last such gap is the text that wraps
    gaps = [match.end() for match in re.finditer(r"\S {2,}(?=\S)", line) if match.end() <= width // 2]
    indent = gaps[-1] if gaps else min(len(line) - len(line.lstrip()) + 2, width // 2)
    # a long word, such as a digest, stands whole on its line if it can
    indent = min(indent, max(0, width - max(map(len, line.split()))))
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * indent,
        drop_whitespace=True,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _measure_width(table: Table, console: Console) -> int:
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(max_width=UNLIMITED_WIDTH), table).minimum
