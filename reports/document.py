"""The one model of a report that every format is made from: sections of tables, figures and notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harness.core.tuned import Tuned
    from reports.statistics.analysis import Analysis


Rows = Sequence[Mapping[str, Any]]
Extra = tuple[str, Rows, Sequence[str]] | tuple[str, Rows, Sequence[str], str]
"""Title, rows and notes of a table, and the section it belongs to."""
TASK_COLUMNS, METHOD_COLUMNS, PRESET_COLUMN = ("task", "on"), ("method",), "preset"
"""Columns of plain rows whose cells name a task, a method or a preset: the page filters by them."""


class LinkedText(str):
    """A table cell that knows the keys of the runs it is made of, or the task, method or preset that it names.

    `total` marks the first cell of a row that sums up the others: sorting leaves it at the end. `label`: the
    first cell of a row that explains the columns. `best`: the best value of its column. `mark`: the verdict that the
    page shows as a sign in place of `word`, the end of the text.
    """

    runs: tuple[str, ...]
    task: str
    method: str
    preset: str
    total: bool
    label: bool
    best: bool
    mark: str
    word: str

    def __new__(
        cls,
        text: str,
        *,
        runs: Iterable[str] = (),
        task: str = "",
        method: str = "",
        preset: str = "",
        total: bool = False,
        label: bool = False,
        best: bool = False,
        mark: str = "",
        word: str = "",
    ) -> LinkedText:
        instance = super().__new__(cls, text)
        instance.runs, instance.task, instance.method, instance.preset = tuple(runs), task, method, preset
        instance.total, instance.label, instance.best = total, label, best
        instance.mark, instance.word = mark, word
        return instance

    @property
    def value(self) -> str:
        """The text before its word."""
        return self.removesuffix(self.word)


@dataclass(frozen=True)
class Table:
    """A titled table with notes below it. One that must give no ranking is not sortable.

    `total`: how many rows there are where `rows` are some of them; the CSV file `file` has all. `data`: the rows in
    full, where they are written to a CSV file too, which is called `name`. `topic`: the section of the page.
    """

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)
    sortable: bool = True
    total: int | None = None
    file: str = ""
    data: Rows = ()
    name: str = ""
    topic: str = "more"

    @classmethod
    def of(cls, title: str, rows: Rows, notes: Sequence[str] = (), topic: str = "more") -> Table:
        """Rows of the same keys as they stand; numbers to four figures, what is missing as '-'."""
        head = tuple(rows[0])
        texts = [tuple(_link_cell(name, _format_value(row[name])) for name in head) for row in rows]
        return cls(title, head, texts, list(notes), data=rows, topic=topic)


MAX_ROWS = 1000
"""Rows of a table at most where each cell has one: nobody reads more, and a page of more takes long to open."""
MOST_KEYS = 20
"""Keys of runs that a number or a mark of the page tells of; of others it says how many there are."""


def truncate_table(table: Table, file: str, most: int = MAX_ROWS) -> Table:
    """The first rows of a table, with a note that names the file of all, where it has more than `most`."""
    if len(table.rows) <= most:
        return table
    note = f"The first {most:,} of {len(table.rows):,} rows; {file}.csv has all (--formats csv)."
    notes = [note, *table.notes]
    return replace(table, rows=table.rows[:most], notes=notes, total=len(table.rows), file=f"{file}.csv")


def _link_cell(column: str, text: str) -> str:
    if column in TASK_COLUMNS:
        return LinkedText(text, task=text)
    if column in METHOD_COLUMNS:
        return LinkedText(text, method=text)
    return LinkedText(text, preset=text) if column == PRESET_COLUMN else text


def _format_value(value: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def transpose_table(table: Table, labels: int, corner: str) -> Table:
    """The table with its rows as columns: the first `labels` columns become the first rows below the new head."""
    columns = list(zip(table.head, *table.rows, strict=True))
    head = (corner, *columns[0][1:])
    explanations = [(LinkedText(name, label=True), *cells) for name, *cells in columns[1:labels]]
    return replace(table, head=head, rows=[*explanations, *columns[labels:]])


@dataclass
class Drawing:
    """A figure with what it says in words.

    `topic`: the section of the page. `chart`: the name of the page's own chart of the same numbers, '' if it has none.
    """

    figure: Figure
    caption: str
    alt: str
    topic: str = "more"
    chart: str = ""


@dataclass(frozen=True)
class Findings:
    """What the statistics say: sentences and tables at the top of a report, tables of detail at its end.

    `lead`: sentences that answer a declared question, before all others.

    `flat` are rows in full, by the name of their file. `tuned` says how methods were tuned, for the figure. `analysis`
    is what they were made from, for registered tables.
    """

    sentences: Sequence[str] = ()
    tables: Sequence[Extra] = ()
    tuned: Sequence[Tuned] = ()
    detail: Sequence[Extra] = ()
    flat: Mapping[str, Rows] = field(default_factory=dict)
    analysis: Analysis | None = None
    lead: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """One suite. `texts`: paragraphs of a plugin's section, by its name.

    `column_figures` are the figures at the width of one column, where they are asked for.
    """

    title: str
    tables: Sequence[Table]
    figures: Mapping[str, Drawing]
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    column_figures: Mapping[str, Drawing] = field(default_factory=dict)


@dataclass(frozen=True)
class RankingView:
    """The first screen of one suite: the answer, at most two caveats, and the table of methods by mean score.

    `print_table`: the same ranking in five columns, for LaTeX and a README.
    """

    suite: str
    answer: str
    caveats: Sequence[str]
    table: Table
    print_table: Table


@dataclass(frozen=True)
class Report:
    """All that a report says; `runs` has one row per cell and is written where a reader can filter it.

    `rankings`: one table per suite, for the first screen. `provenance`: one line about cells, model, machine and
    commit. `charts`: suite -> the numbers that the page's charts are drawn from, as JSON.
    """

    title: str
    command: str
    facts: Sequence[str]
    dropped: Sequence[str]
    summary: Sequence[str]
    extra: Sequence[Table]
    sections: Sequence[Section]
    runs: Table
    detail: Sequence[Table] = ()
    lead: Sequence[str] = ()
    rankings: Sequence[RankingView] = ()
    provenance: str = ""
    charts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, Drawing]:
        return {name: drawing for section in self.sections for name, drawing in section.figures.items()}

    @property
    def column_figures(self) -> dict[str, Drawing]:
        return {name: drawing for section in self.sections for name, drawing in section.column_figures.items()}

    @property
    def table_rows(self) -> dict[str, list[dict[str, Any]]]:
        """File name -> rows in full of the tables that have some, with the suite as their first column."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for section in self.sections:
            for table in section.tables:
                if table.name:
                    rows.setdefault(table.name, []).extend({"suite": section.title, **row} for row in table.data)
        return rows
