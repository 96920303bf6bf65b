"""Records to the model of the report: which sections, tables and figures, in reading order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.core.file_names import make_file_name, make_file_names
from harness.core.record import Profile, Record
from harness.core.registry import load_package
from reports.document import MAX_ROWS, Findings, LinkedText, Report, Section, Table
from reports.figures import draw_column_figures, draw_figures
from reports.frames import Grid, build_grids, format_seeds, get_score
from reports.registered import SuiteContext, build_tables

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
) -> Report:
    """`published` are rows of results/published.tsv; `columns`: draw the figures at column width too."""
    if any(r.stand_in for r in records):
        title = f"{title} ({SYNTHETIC_NOTE})"
    suite_grids = build_grids(records)
    names = make_file_names(grid.suite for grid in suite_grids)
    return Report(
        title=title,
        command=command,
        facts=list_facts(records),
        dropped=dropped,
        summary=findings.sentences,
        extra=[Table.of(*extra) for extra in findings.tables],
        sections=[
            build_section(
                SuiteContext(grid, profiles, published, findings.tuned, findings.analysis), names[grid.suite], columns
            )
            for grid in suite_grids
        ],
        runs=build_run_table(suite_grids, MAX_ROWS),
        detail=[Table.of(*extra) for extra in findings.detail],
        rankings=findings.analysis.rankings if findings.analysis else (),
    )


def build_section(context: SuiteContext, name: str = "", columns: bool = False) -> Section:
    """The tables and figures of a suite; `name` begins the names of its figures' files."""
    load_package("reports.tables")
    name = name or make_file_name(context.grid.suite)
    drawings = {f"{name}-{kind}": drawing for kind, drawing in draw_figures(context).items()}
    narrow = {f"{name}-{kind}": d for kind, d in draw_column_figures(context).items()} if columns else {}
    return Section(context.grid.suite, build_tables(context), drawings, narrow)


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
                names = (grid.suite, LinkedText(task, task=task), LinkedText(method, method=method), r.cell.preset)
                rows.append(
                    (LinkedText(r.key, runs=[r.key]), *names, format_seeds(r.cell.seeds), r.status, score_text, metrics)
                )
    head = ("key", "suite", "task", "method", "preset", "seeds", "status", "score", "metrics")
    notes = ["`python -m harness show KEY` prints all that is stored of a run."]
    if not cut:
        return Table("Every run", head, rows, notes)
    note = f"The first {each:,} of each task and method, of {total:,} runs; cells.csv has all (--formats csv)."
    return Table("Runs", head, rows[:most], [note, *notes], total=total, file="cells.csv")


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
