"""Records to the model of the report: which sections, tables and figures, in reading order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.file_names import file_name, file_names
from harness.record import Profile, Record, Tuned
from reports.document import MOST_ROWS, Findings, Report, Section, Table, Text, shortened
from reports.figures import figures
from reports.frames import Grid, grids, score, seed_text
from reports.languages import language_table
from reports.published import published_table
from reports.tables import (
    cost_table,
    difference_table,
    failure_table,
    metric_table,
    protocol_table,
    score_table,
)

STAND_IN = "generated stand-in, no evidence about GLUE"


def build(
    records: Sequence[Record],
    profiles: Sequence[Profile],
    title: str,
    command: str,
    dropped: Sequence[str],
    findings: Findings,
    published: Sequence[Mapping[str, str]],
) -> Report:
    """`published` are rows of results/published.tsv."""
    if any(r.stand_in for r in records):
        title = f"{title} ({STAND_IN})"
    found = grids(records)
    names = file_names(grid.suite for grid in found)
    return Report(
        title=title,
        command=command,
        facts=facts(records),
        dropped=dropped,
        summary=findings.sentences,
        extra=[Table.of(*extra) for extra in findings.tables],
        sections=[section(grid, profiles, published, findings.tuned, names[grid.suite]) for grid in found],
        runs=run_table(found, MOST_ROWS),
        detail=[Table.of(*extra) for extra in findings.detail],
    )


def section(
    grid: Grid,
    profiles: Sequence[Profile],
    published: Sequence[Mapping[str, str]],
    tuned: Sequence[Tuned] = (),
    name: str = "",
) -> Section:
    """The tables and figures of a suite; `name` begins the names of its figures' files."""
    name = name or file_name(grid.suite)
    drawn = {f"{name}-{kind}": drawing for kind, drawing in figures(grid, profiles, tuned).items()}
    return Section(grid.suite, tables(grid, profiles, published), drawn)


def tables(grid: Grid, profiles: Sequence[Profile], published: Sequence[Mapping[str, str]] = ()) -> list[Table]:
    """All tables of a suite, in reading order."""
    first = grid.averages[0]
    failed = failure_table(grid)
    made = [
        failed and shortened(failed, "cells"),
        score_table(grid, first),
        difference_table(grid, first),
        cost_table(grid, profiles),
    ]
    made += [score_table(grid, name) for name in grid.averages[1:]]
    made += [published_table(grid, published), language_table(grid), metric_table(grid), protocol_table(grid)]
    return [table for table in made if table is not None]


def run_table(found: Sequence[Grid], most: int | None = None) -> Table:
    """One row per cell; where that is more than `most`, the first of each task and method."""
    groups = [group for grid in found for group in grid.cells.values()]
    total = sum(map(len, groups))
    cut = most is not None and total > most
    each = max(1, (most or 0) // len(groups)) if cut else total
    rows = []
    for grid in found:
        for (task, method), group in grid.cells.items():
            for r in group[:each]:
                value = score(r, grid.averages[0])
                shown = "-" if value is None else f"{value:.1f}"
                metrics = ", ".join(f"{name} {points:.1f}" for name, points in r.scores.items())
                names = (grid.suite, Text(task, task=task), Text(method, method=method), r.cell.preset)
                rows.append((Text(r.key, runs=[r.key]), *names, seed_text(r.cell.seeds), r.status, shown, metrics))
    head = ("key", "suite", "task", "method", "preset", "seeds", "status", "score", "metrics")
    notes = ["`python -m harness show KEY` prints all that is stored of a run."]
    if not cut:
        return Table("Every run", head, rows, notes)
    note = f"The first {each:,} of each task and method, of {total:,} runs; cells.csv has all (--formats csv)."
    return Table("Runs", head, rows[:most], [note, *notes], total=total, file="cells.csv")


def facts(records: Sequence[Record]) -> list[str]:
    """What a reader must know before the numbers."""
    status = Counter(r.status for r in records)
    counts = ", ".join(f"{status[s]} {s}" for s in ("ok", "failed", "oom", "cancelled") if status[s])
    machines = {(e.machine, e.torch, e.transformers) for r in records if (e := r.environment)}
    found = [f"{len(records)} cells: {counts}. Last finished {max(r.finished for r in records)}."]
    found += [f"Machine: {m}; torch {t}, transformers {x}." for m, t, x in sorted(machines)]
    models = dict.fromkeys(f"{r.cell.model.name} ({r.cell.model.revision[:12]})" for r in records)
    found.append(f"Backbone: {', '.join(models)}. Data: {', '.join(dict.fromkeys(r.data_source for r in records))}.")
    return found
