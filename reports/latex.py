"""How the columns of a table are set in LaTeX: as they are where they fit, else the long ones as paragraphs."""

from __future__ import annotations

from reports.document import Table

LINE_MM, CHARACTER_MM, GAP_MM = 257.0, 1.35, 4.2
"""A4 on its side; a character and the gap between columns in \\scriptsize."""
LONG_COLUMN = 16
"""Characters; a shorter column is never broken."""


def build_column_spec(table: Table) -> str:
    """The column specification of a longtable."""
    places = range(len(table.head))
    rows = [table.head, *table.rows]
    widths = [max(len(row[i]) for row in rows) * CHARACTER_MM for i in places]
    room = LINE_MM - GAP_MM * len(widths)
    marks = ["r" if i and is_numeric(table, i) else "l" for i in places]
    if sum(widths) <= room:
        return "".join(marks)
    long = [w > LONG_COLUMN * CHARACTER_MM for w in widths]
    short = sum(w for w, is_long in zip(widths, long, strict=True) if not is_long)
    share = max(0.1, min(1.0, (room - short) / sum(w for w, is_long in zip(widths, long, strict=True) if is_long)))
    return "".join(
        f"P{{{w * share:.0f}mm}}" if is_long else mark for w, mark, is_long in zip(widths, marks, long, strict=True)
    )


def is_numeric(table: Table, column: int) -> bool:
    """Whether each cell of the column that says anything begins with a number."""
    cells = [row[column] for row in table.rows if row[column] not in ("", "-")]
    return bool(cells) and all(cell.lstrip("+-")[:1].isdigit() for cell in cells)
