"""Where the tables, figures and sections of a report register; a new one is one file.

    reports/tables/*.py   @report_table("cost")           suite context -> rows or a Table
    reports/plots/*.py    @report_figure("scores")        suite context -> a Drawing
    a plugin's file       @report_section("calibration")  suite context -> a SectionContent

A file that is loaded with --plugin registers in the same way. `topic` names the section of a table or figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from harness.core.errors import UserError
from harness.core.file_names import make_file_name
from harness.core.profile import Profile
from harness.core.record import Record
from harness.core.registry import Registry
from harness.core.tuned import Tuned
from reports.document import Drawing, Rows, Table
from reports.frames import Grid

if TYPE_CHECKING:
    from reports.statistics.analysis import Analysis

LAST_PLACE = 1000
"""Where a table, figure or section stands that names no place: after all others, in the order of their names."""


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


@dataclass(frozen=True)
class TableInfo:
    """A registered table; `topic` names its section, `title` is that of plain rows."""

    place: int
    title: str
    topic: str
    build: Callable[[SuiteContext], BuiltTables]


@dataclass(frozen=True)
class FigureInfo:
    """A registered figure; `topic` names its section, `chart` the chart of the page that shows the same."""

    place: int
    topic: str
    chart: str
    draw: Callable[[SuiteContext], Drawing | None]


@dataclass(frozen=True)
class SectionContent:
    """What a section of a suite holds; one without anything is left out."""

    texts: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Mapping[str, Drawing] = field(default_factory=dict)


@dataclass(frozen=True)
class SectionInfo:
    """A folded section of the page; `build` is None where tables and figures name it as their topic."""

    place: int
    title: str
    build: Callable[[SuiteContext], SectionContent | None] | None = None


TABLES: Registry[TableInfo] = Registry("report table")
FIGURES: Registry[FigureInfo] = Registry("report figure")
SECTIONS: Registry[SectionInfo] = Registry("report section")
TOPICS = {
    "evidence": "Evidence",
    "scores": "Scores",
    "comparisons": "Comparisons",
    "stability": "Stability",
    "cost": "Cost",
    "curves": "Training curves",
    "tuning": "Tuning",
    "examples": "Examples",
    "protocol": "Protocol and provenance",
    "data": "Data",
    "more": "Further tables and figures",
}
"""Name -> title of the sections that every page may have, in reading order."""
for _number, (_name, _title) in enumerate(TOPICS.items(), start=1):
    SECTIONS.register(_name)(SectionInfo(10 * _number, _title))


def report_table(name: str, title: str = "", place: int = LAST_PLACE, topic: str = "more") -> Callable[[Build], Build]:
    """Decorator: register a table; `title` is that of plain rows. Raises UserError if the name is taken."""

    def register(build: Build) -> Build:
        TABLES.register(name)(TableInfo(place, title or name, topic, build))  # type: ignore[arg-type]
        return build

    return register


def report_figure(name: str, place: int = LAST_PLACE, topic: str = "more", chart: str = "") -> Callable[[Build], Build]:
    """Decorator: register a figure; its file is SUITE-NAME. Raises UserError if the name is taken.

    `chart`: the chart of templates/charts.js that shows the same on the page, where readers can filter it.
    """

    def register(draw: Build) -> Build:
        FIGURES.register(name)(FigureInfo(place, topic, chart, draw))  # type: ignore[arg-type]
        return draw

    return register


def report_section(name: str, title: str = "", place: int = LAST_PLACE) -> Callable[[Build], Build]:
    """Decorator: register a folded section, from a function that gives a SectionContent, or None to leave it out.

    Raises UserError if the name is taken.
    """

    def register(build: Build) -> Build:
        SECTIONS.register(name)(SectionInfo(place, title or name, build))  # type: ignore[arg-type]
        return build

    return register


def build_sections(context: SuiteContext) -> dict[str, SectionContent]:
    """Name -> content of the sections that plugins register, in reading order; tables and figures with their topic.

    Raises UserError for a plugin's section that raises.
    """
    contents: dict[str, SectionContent] = {}
    for name, section in sorted(SECTIONS, key=lambda item: item[1].place):
        if section.build is None:
            continue
        try:
            # sections with a function are a plugin's, so any error here is the plugin's
            content = section.build(context)
        except Exception as error:
            raise _describe_plugin_error("section", name, error) from error
        if content is not None and (content.texts or content.tables or content.figures):
            file_name = make_file_name(name)
            contents[name] = SectionContent(
                content.texts,
                [replace(table, topic=name) for table in content.tables],
                {f"{file_name}-{kind}": replace(drawing, topic=name) for kind, drawing in content.figures.items()},
            )
    return contents


def build_tables(context: SuiteContext) -> list[Table]:
    """All registered tables of a suite, in reading order. Raises UserError for a plugin's table that raises."""
    tables: list[Table] = []
    for name, info in sorted(TABLES, key=lambda item: item[1].place):
        SECTIONS.get(info.topic)  # an unknown topic is one line
        try:
            tables += _list_tables(name, info, info.build(context))
        except Exception as error:
            if name not in TABLES.sources:
                raise
            raise _describe_plugin_error("table", name, error) from error
    return tables


def draw_registered(context: SuiteContext) -> dict[str, Drawing]:
    """Name -> drawing of each figure with numbers, in reading order. Raises UserError for a plugin's that raises."""
    drawings: dict[str, Drawing] = {}
    for name, info in sorted(FIGURES, key=lambda item: item[1].place):
        SECTIONS.get(info.topic)
        try:
            drawing = info.draw(context)
        except Exception as error:
            if name not in FIGURES.sources:
                raise
            raise _describe_plugin_error("figure", name, error) from error
        if drawing is not None:
            drawings[name] = replace(drawing, topic=info.topic, chart=info.chart)
    return drawings


def _list_tables(name: str, info: TableInfo, built: BuiltTables) -> list[Table]:
    if not built:
        return []
    if isinstance(built, Table):
        tables = [built]
    elif isinstance(built[0], Table):
        tables = [table for table in built if isinstance(table, Table)]
    else:
        tables = [Table.of(info.title, [row for row in built if isinstance(row, Mapping)])]
    file_name = f"table-{make_file_name(name)}"
    # Only rows that are numbers in full have a file of their own: the text of other tables is rounded for reading.
    return [replace(table, topic=info.topic, name=file_name if table.data else "") for table in tables]


def _describe_plugin_error(kind: str, name: str, error: Exception) -> UserError:
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return UserError(
        f"the plugin's report {kind} '{name}' raises {reason}; the records are stored: correct the plugin, "
        "then `report RUN --plugin FILE` writes the report"
    )
