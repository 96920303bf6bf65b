"""Records to the model of the report: which sections, tables and figures, in reading order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness.core.file_names import make_file_name, make_file_names
from harness.core.profile import Profile
from harness.core.record import Record
from harness.core.registry import load_package
from reports.charts import build_chart_data
from reports.document import MAX_ROWS, Findings, LinkedText, RankingView, Report, Section, Table
from reports.figures import build_plugin_sections, draw_column_figures, draw_figures
from reports.first_screen import build_first_screen
from reports.frames import Grid, build_grids, format_seeds, get_score
from reports.registered import SuiteContext, build_tables
from reports.shown_methods import choose_methods, describe_omitted, limit_methods, select_methods

SYNTHETIC_NOTE = "generated stand-in, no evidence about GLUE"


def build_report(
    records: Sequence[Record],
    profiles: Sequence[Profile],
    title: str,
    command: str,
    dropped: Sequence[str],
    findings: Findings,
    published: Sequence[Mapping[str, str]],
    columns: bool = False,
    draw: bool = True,
) -> Report:
    """`published` are rows of results/published.tsv; `columns`: draw the figures at column width too.

    Without `draw` the report has no figures but those of plugins' sections.
    """
    if any(r.stand_in for r in records):
        title = f"{title} ({SYNTHETIC_NOTE})"
    analysis = findings.analysis
    suite_grids = list(analysis.grids) if analysis else build_grids(records)
    names = make_file_names(grid.suite for grid in suite_grids)
    rankings = {one.suite: one for one in analysis.rankings} if analysis else {}
    shown = {grid.suite: choose_methods(grid, analysis) for grid in suite_grids}
    notes = {grid.suite: describe_omitted(grid, shown[grid.suite]) for grid in suite_grids}
    views = [build_first_screen(rankings[grid.suite], grid) for grid in suite_grids if grid.suite in rankings]
    views = [replace(view, table=limit_methods(view.table, shown, notes)) for view in views]
    return Report(
        title=title,
        command=command,
        facts=list_facts(records),
        dropped=dropped,
        summary=_drop_repeated(findings.sentences, views),
        extra=[limit_methods(Table.of(*extra), shown, notes) for extra in findings.tables],
        sections=[
            build_section(
                SuiteContext(grid, profiles, published, findings.tuned, analysis),
                names[grid.suite],
                columns,
                shown[grid.suite],
                draw,
            )
            for grid in suite_grids
        ],
        runs=build_run_table(suite_grids, MAX_ROWS),
        detail=[Table.of(*extra) for extra in findings.detail],
        lead=findings.lead,
        rankings=views,
        provenance=describe_provenance(records),
        charts={
            grid.suite: build_chart_data(
                select_methods(grid, shown[grid.suite]), profiles, findings.tuned, analysis, rankings.get(grid.suite)
            )
            for grid in suite_grids
        },
    )


def _drop_repeated(sentences: Sequence[str], views: Sequence[RankingView]) -> list[str]:
    """The sentences that no ranking says already; where there are several suites they begin with its name."""
    said = {sentence for view in views for sentence in (view.answer, *view.caveats)}
    said |= {f"{view.suite}: {sentence}" for view in views for sentence in (view.answer, *view.caveats)}
    return [sentence for sentence in sentences if sentence not in said]


def build_section(
    context: SuiteContext,
    name: str = "",
    columns: bool = False,
    methods: Sequence[str] | None = None,
    draw: bool = True,
) -> Section:
    """The tables and, with `draw`, the figures of a suite; `name` begins the names of its figures' files.

    `methods`: those to show, by default all.
    """
    load_package("reports.tables")
    grid, name = context.grid, name or make_file_name(context.grid.suite)
    shown = grid.methods if methods is None else methods
    part, note = replace(context, grid=select_methods(grid, shown)), describe_omitted(grid, shown)
    contents = build_plugin_sections(part)
    drawings = {f"{name}-{kind}": drawing for kind, drawing in (draw_figures(part) if draw else {}).items()}
    for content in contents.values():
        drawings |= {f"{name}-{kind}": drawing for kind, drawing in content.figures.items()}
    for drawing in drawings.values() if note else ():
        drawing.caption, drawing.alt = f"{drawing.caption}; {note}", f"{drawing.alt} {note}."
    tables = [*build_tables(context), *(table for content in contents.values() for table in content.tables)]
    tables = [limit_methods(table, {grid.suite: shown}, {grid.suite: note}) for table in tables]
    texts = {section: content.texts for section, content in contents.items()}
    column_drawings = draw_column_figures(part) if columns else {}
    column_figures = {f"{name}-{kind}": drawing for kind, drawing in column_drawings.items()}
    return Section(grid.suite, tables, drawings, texts, column_figures)


def build_run_table(found: Sequence[Grid], most: int | None = None) -> Table:
    """One row per cell; where that is more than `most`, the first of each task and method."""
    groups = [group for grid in found for group in grid.cells.values()]
    total = sum(map(len, groups))
    cut = most is not None and total > most
    each = max(1, (most or 0) // len(groups)) if cut else total
    rows = []
    for grid in found:
        for (task, method), group in grid.cells.items():
            for r in group[:each]:
                value = get_score(r, grid.averages[0])
                score_text = "-" if value is None else f"{value:.1f}"
                metrics = ", ".join(f"{name} {points:.1f}" for name, points in r.scores.items())
                names = (
                    grid.suite,
                    LinkedText(task, task=task),
                    LinkedText(method, method=method),
                    LinkedText(r.cell.preset, preset=r.cell.preset),
                )
                rows.append(
                    (LinkedText(r.key, runs=[r.key]), *names, format_seeds(r.cell.seeds), r.status, score_text, metrics)
                )
    head = ("key", "suite", "task", "method", "preset", "seeds", "status", "score", "metrics")
    notes = ["`python -m harness show KEY` prints all that is stored of a run."]
    if not cut:
        return Table("Every run", head, rows, notes)
    note = f"The first {each:,} of each task and method, of {total:,} runs; cells.csv has all (--formats csv)."
    return Table("Runs", head, rows[:most], [note, *notes], total=total, file="cells.csv")


def describe_provenance(records: Sequence[Record]) -> str:
    """One line: cells, backbone, data, machine, commit, last end."""
    status = Counter(r.status for r in records)
    counts = ", ".join(f"{status[s]} {s}" for s in ("ok", "failed", "oom", "cancelled") if status[s])
    environments = [r.environment for r in records if r.environment]
    parts = [
        f"{len(records)} {'cell' if len(records) == 1 else 'cells'} ({counts})",
        _list_few(r.cell.model.name for r in records),
        _list_few(r.data_source for r in records),
        _list_few(e.machine for e in environments),
        _list_few(f"commit {e.commit[:12]}" for e in environments if e.commit),
        max(r.finished for r in records)[:10],
    ]
    return " \u00b7 ".join(part for part in parts if part)


def _list_few(values: Iterable[str]) -> str:
    """The first value, and how many others there are."""
    first, *others = list(dict.fromkeys(values)) or [""]
    return f"{first} and {len(others)} more" if others else first


def list_facts(records: Sequence[Record]) -> list[str]:
    """What a reader must know before the numbers."""
    status = Counter(r.status for r in records)
    counts = ", ".join(f"{status[s]} {s}" for s in ("ok", "failed", "oom", "cancelled") if status[s])
    machines = {(e.machine, e.torch, e.transformers) for r in records if (e := r.environment)}
    lines = [f"{len(records)} cells: {counts}. Last finished {max(r.finished for r in records)}."]
    lines += [f"Machine: {m}; torch {t}, transformers {x}." for m, t, x in sorted(machines)]
    models = dict.fromkeys(f"{r.cell.model.name} ({r.cell.model.revision[:12]})" for r in records)
    lines.append(f"Backbone: {', '.join(models)}. Data: {', '.join(dict.fromkeys(r.data_source for r in records))}.")
    return lines
