"""Tables in LaTeX: sizes and columns that fit the text width of a one-column article, in as many parts as that needs.

A table is set in the largest size in which its columns stay as they are. Where none fits, columns of words are broken
into lines; where that does not fit either, the table is split, and each part repeats the columns that name its rows.
Tables of many rows are longtables.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.file_names import make_file_names
from reports.document import Report, Table
from reports.escape import escape_latex, flatten_text

TEXT_WIDTH, COLUMN_WIDTH = 345.0, 200.0
"""TeX points of the text of a 10 pt article on letter paper, and of one of its columns: most layouts are wider."""
SIZES = (("small", 9.0), ("footnotesize", 8.0), ("scriptsize", 7.0))
GAP = 6.0
"""Points between two columns: twice \\tabcolsep."""
MAX_FLOAT_ROWS = 40
"""Rows of a table that fits on a page; of more it is a longtable."""
MAX_KEYS = 5
"""Columns at most that each part of a split table repeats."""
LEAST_WORDS, LONGEST_NUMBER = 8.0, 14.0
"""Em that a column of words keeps, and of the longest number with its interval that is kept in one line."""
MAX_PIECE = 14
"""Characters of a word without a place to break it at; longer ones are broken."""
WIDTHS = {**dict.fromkeys("ijl.,:;|!'`()[] ", 0.34), **dict.fromkeys("mwMW%@", 0.95), "±": 0.8, "\u00d7": 0.8}
"""Em of characters in Computer Modern, rounded up; 0.56 for other small ones and digits, 0.78 for capitals."""


@dataclass(frozen=True)
class LatexColumn:
    """A column: its place in the table, its alignment, and its share of the text width if it is broken into lines."""

    place: int
    is_number: bool
    share: float | None = None

    @property
    def spec(self) -> str:
        if self.share is None:
            return "r" if self.is_number else "l"
        ragged = "raggedleft" if self.is_number else "raggedright"
        return f">{{\\{ragged}\\arraybackslash}}p{{{self.share:.3f}\\textwidth}}"


@dataclass(frozen=True)
class LatexPart:
    """What is set as one table."""

    size: str
    columns: tuple[LatexColumn, ...]
    is_long: bool
    is_narrow: bool

    @property
    def spec(self) -> str:
        """Without the gaps at both ends."""
        return f"@{{}}{''.join(column.spec for column in self.columns)}@{{}}"

    @property
    def environment(self) -> str:
        """`table*` spans both columns of a two-column page and is a table elsewhere."""
        return "table" if self.is_narrow else "table*"

    def list_cells(self, row: Sequence[str]) -> list[str]:
        """The cells of a row in LaTeX; those of broken columns with the places where they may break."""
        return [
            escape_latex(row[column.place]) if column.share is None else escape_breakable(row[column.place])
            for column in self.columns
        ]


def lay_out_table(table: Table) -> list[LatexPart]:
    """The parts in which the table is set."""
    is_long = len(table.rows) > MAX_FLOAT_ROWS
    columns = [LatexColumn(i, i > 0 and is_numeric(table, i)) for i in range(len(table.head))]
    widths = [max(map(_measure, texts)) for texts in zip(table.head, *table.rows, strict=True)]
    for size, points in SIZES:
        total = sum(widths) * points + GAP * (len(widths) - 1)
        if total <= TEXT_WIDTH:
            return [LatexPart(size, tuple(columns), is_long, total <= COLUMN_WIDTH and not is_long)]
    size, points = SIZES[-1]
    least = [_measure_least(table, column, width) for column, width in zip(columns, widths, strict=True)]
    parts = []
    for places in _split_columns(least, points, find_keys(table)):
        chosen = _share_width([widths[i] for i in places], [least[i] for i in places], points)
        broken = [
            LatexColumn(i, columns[i].is_number, None if width >= widths[i] - 1e-6 else width * points / TEXT_WIDTH)
            for i, width in zip(places, chosen, strict=True)
        ]
        parts.append(LatexPart(size, tuple(broken), is_long, False))
    return parts


def _measure_least(table: Table, column: LatexColumn, width: float) -> float:
    """Em below which a column of this natural width is not broken: numbers and intervals stay in one line."""
    texts = [row[column.place] for row in table.rows]
    pieces = max(map(_measure_pieces, [table.head[column.place], *texts]))
    if column.is_number:
        return min(width, max(pieces, min(LONGEST_NUMBER, max(map(_measure, texts)))))
    return min(width, max(pieces, LEAST_WORDS))


def find_keys(table: Table) -> list[int]:
    """Places of the columns from the left that name a row, without those that say the same in each; or the first."""
    keys: list[int] = []
    for place in range(len(table.head) - 1):
        if len({row[place] for row in table.rows}) > 1:
            keys.append(place)
        if keys and len(set(map(operator.itemgetter(*keys), table.rows))) == len(table.rows):
            break
    return keys if 0 < len(keys) <= MAX_KEYS else [0]


def _split_columns(least: Sequence[float], points: float, keys: Sequence[int]) -> list[list[int]]:
    """Places of the columns of each part: as many as fit when broken into lines, after the keys in further parts."""
    parts: list[list[int]] = [[]]
    for i in range(len(least)):
        columns = [*parts[-1], i]
        needed = sum(least[n] for n in columns) * points + GAP * (len(columns) - 1)
        if needed > TEXT_WIDTH and set(parts[-1]) - set(keys):
            parts.append([*keys, i])
        else:
            parts[-1].append(i)
    return parts


def _share_width(widths: Sequence[float], least: Sequence[float], points: float) -> list[float]:
    """Em of each column: what it needs at least, and a share of what remains by how much it lacks."""
    room = (TEXT_WIDTH - GAP * (len(widths) - 1)) / points
    lacking = [width - small for width, small in zip(widths, least, strict=True)]
    spare = room - sum(least)
    share = min(1.0, max(0.0, spare / sum(lacking))) if sum(lacking) else 0.0
    if spare < 0:  # two columns that do not fit even when broken
        return [small * room / sum(least) for small in least]
    return [small + share * lack for small, lack in zip(least, lacking, strict=True)]


def _measure(text: str) -> float:
    """Em that a text takes in one line, rather too many."""
    flat = flatten_text(text)
    return sum(WIDTHS.get(c, 0.78 if c.isupper() else 0.56 if c <= "\u00ff" else 4.5) for c in flat) + 0.5


def _measure_pieces(text: str) -> float:
    return max((_measure(piece.strip()) for piece in _split_pieces(flatten_text(text))), default=0.0)


def _split_pieces(text: str) -> list[str]:
    """The text in the pieces between which a line may end: at spaces, after separators of names, within long words."""
    pieces: list[str] = []
    for word in re.findall(r" *[^ ]+", text):
        # a sign, a decimal point and a bracket stay with their number
        for part in re.findall(r".*?[A-Za-z][A-Za-z0-9]*[:,=/_;@+.-]|.+", word):
            pieces += [part[i : i + MAX_PIECE] for i in range(0, len(part), MAX_PIECE)]
    return pieces


def escape_breakable(text: object) -> str:
    """The text in LaTeX, with places to break it at within names."""
    joined = ""
    for piece in _split_pieces(flatten_text(text)):
        bare = piece.lstrip(" ")
        joined += " " if bare != piece else r"\allowbreak{}" if joined else ""
        joined += escape_latex(bare)
    return joined


def is_numeric(table: Table, column: int) -> bool:
    """Whether each cell of the column that says anything begins with a number."""
    cells = [row[column] for row in table.rows if row[column] not in ("", "-")]
    return bool(cells) and all(cell.lstrip("+-")[:1].isdigit() for cell in cells)


def name_tables(report: Report) -> list[tuple[str, Table]]:
    """The name of each table's file and the table, in reading order; the runs are left to CSV."""
    titled = [(view.print_table.title, view.print_table) for view in report.rankings]
    titled += [(table.title, table) for table in report.extra]
    for section in report.sections:
        titled += [(f"{section.title} {table.title}", table) for table in section.tables]
    titled += [(table.title, table) for table in report.detail]
    titled = [(title, table) for title, table in titled if table.rows]
    slugs: list[str] = []
    for title, _ in titled:
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60].strip("-") or "table"
        # two tables of one title keep apart
        slugs.append(slug if slug not in slugs else f"{slug}-{len(slugs)}")
    names = make_file_names(slugs)
    return [(names[slug], table) for slug, (_, table) in zip(slugs, titled, strict=True)]
