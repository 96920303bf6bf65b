"""Where the tables and figures of a report register; a new one is one file.

    reports/tables/*.py   @report_table("cost")      suite context -> rows or a Table
    reports/plots/*.py    @report_figure("scores")   suite context -> a Drawing

A file that is loaded with --plugin registers in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from harness.core.errors import UserError
from harness.core.file_names import make_file_name
from harness.core.record import Profile, Record, Tuned
from harness.core.registry import Registry
from reports.document import Drawing, Rows, Table
from reports.frames import Grid

if TYPE_CHECKING:
    from reports.statistics.analysis import Analysis

LAST_PLACE = 1000
"""Where a table or figure stands that names no place: after all others, in the order of their names."""


@dataclass(frozen=True)
class SuiteContext:
    """What a table or figure of one suite is made from.

    `grid` holds the suite's records by task and method. `published` are rows of results/published.tsv. `analysis` has
    the estimates, tests and verdicts of the whole report; None where cells are not to be compared. `figure_width` is
    what a figure is wide, in inches: that of the text, or of one column of a two-column page.
    """

    grid: Grid
    profiles: Sequence[Profile] = ()
    published: Sequence[Mapping[str, str]] = ()
    tuned: Sequence[Tuned] = ()
    analysis: Analysis | None = None
    figure_width: float = 6.9

    @property
    def records(self) -> list[Record]:
        return self.grid.records


BuiltTables = Table | Sequence[Table] | Rows | None
"""One table, several, rows with the same keys, or None where there is nothing to say."""
Build = TypeVar("Build", bound=Callable[[SuiteContext], object])
TABLES: Registry[tuple[int, str, Callable[[SuiteContext], BuiltTables]]] = Registry("report table")
"""Name -> (place, title, function)."""
FIGURES: Registry[tuple[int, Callable[[SuiteContext], Drawing | None]]] = Registry("report figure")
"""Name -> (place, function)."""


def report_table(name: str, title: str = "", place: int = LAST_PLACE) -> Callable[[Build], Build]:
    """Decorator: register a table; `title` is that of plain rows. Raises UserError if the name is taken."""

    def register(build: Build) -> Build:
        TABLES.register(name)((place, title or name, build))  # type: ignore[arg-type]
        return build

    return register


def report_figure(name: str, place: int = LAST_PLACE) -> Callable[[Build], Build]:
    """Decorator: register a figure; its file is SUITE-NAME. Raises UserError if the name is taken."""

    def register(draw: Build) -> Build:
        FIGURES.register(name)((place, draw))  # type: ignore[arg-type]
        return draw

    return register


def build_tables(context: SuiteContext) -> list[Table]:
    """All registered tables of a suite, in reading order. Raises UserError for a plugin's table that raises."""
    tables: list[Table] = []
    for name, (_, title, build) in sorted(TABLES, key=lambda item: item[1][0]):
        try:
            tables += _list_tables(name, title, build(context))
        except Exception as error:
            if name not in TABLES.sources:
                raise
            raise _describe_plugin_error("table", name, error) from error
    return tables


def draw_registered(context: SuiteContext) -> dict[str, Drawing]:
    """Name -> drawing of each figure with numbers, in reading order. Raises UserError for a plugin's that raises."""
    drawings: dict[str, Drawing] = {}
    for name, (_, draw) in sorted(FIGURES, key=lambda item: item[1][0]):
        try:
            drawing = draw(context)
        except Exception as error:
            if name not in FIGURES.sources:
                raise
            raise _describe_plugin_error("figure", name, error) from error
        if drawing is not None:
            drawings[name] = drawing
    return drawings


def _list_tables(name: str, title: str, built: BuiltTables) -> list[Table]:
    if not built:
        return []
    if isinstance(built, Table):
        tables = [built]
    elif isinstance(built[0], Table):
        tables = [table for table in built if isinstance(table, Table)]
    else:
        tables = [Table.of(title, [row for row in built if isinstance(row, Mapping)])]
    file_name = f"table-{make_file_name(name)}"
    # Only rows that are numbers in full have a file of their own: the text of other tables is rounded for reading.
    return [replace(table, name=file_name) if table.data else table for table in tables]


def _describe_plugin_error(kind: str, name: str, error: Exception) -> UserError:
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return UserError(
        f"the plugin's report {kind} '{name}' raises {reason}; the records are stored: correct the plugin, "
        "then `report RUN --plugin FILE` writes the report"
    )
