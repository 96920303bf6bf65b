"""The report's files: markdown, HTML, CSV, figures."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.record import Profile, Record
from reports.figures import figures
from reports.frames import Grid, grids
from reports.languages import language_table
from reports.tables import (
    Table,
    cells_csv,
    cost_table,
    difference_table,
    failure_table,
    metric_table,
    protocol_table,
    score_table,
    scores_csv,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STAND_IN = "generated stand-in, no evidence about GLUE"
CAPTIONS = {
    "scores": "Scores by task",
    "differences": "Paired differences to the first method",
    "loss": "Training loss, mean over seeds",
    "cost": "Memory and speed, each method alone",
}


def write_report(
    records: Sequence[Record],
    profiles: Sequence[Profile],
    folder: Path,
    title: str,
    command: str,
    dropped: Sequence[str] = (),
) -> Path:
    """Write report.md, report.html, scores.csv, cells.csv and figures/ into `folder`; returns report.html's path."""
    if not records:
        raise UserError(f"no records for a report in {folder.parent}; run cells first")
    if any(r.stand_in for r in records):
        title = f"{title} ({STAND_IN})"
    context: dict[str, Any] = {"title": title, "command": command, "dropped": dropped, "facts": facts(records)}
    drawn: dict[str, Figure] = {}
    sections = []
    for grid in grids(records):
        own = figures(grid, profiles)
        prefix = f"{grid.suite}-"
        drawn |= {prefix + name: figure for name, figure in own.items()}
        captions = [(prefix + name, CAPTIONS[name]) for name in own]
        sections.append({"suite": grid.suite, "tables": tables(grid, profiles), "figures": captions})
    files = {f"figures/{name}.png": png(figure) for name, figure in drawn.items()}
    vectors = {name: svg(figure) for name, figure in drawn.items()}
    files |= {f"figures/{name}.svg": text.encode() for name, text in vectors.items()}
    files |= {"scores.csv": scores_csv(records).encode(), "cells.csv": cells_csv(records).encode()}
    context |= {"sections": sections, "vectors": vectors}
    files |= {f"report.{kind}": _fill(f"report.{kind}.j2", context).encode() for kind in ("md", "html")}
    _write(folder, files)
    return folder / "report.html"


def tables(grid: Grid, profiles: Sequence[Profile]) -> list[Table]:
    """All tables of a suite, in reading order."""
    first = grid.averages[0]
    made = [failure_table(grid), score_table(grid, first), difference_table(grid, first), cost_table(grid, profiles)]
    made += [score_table(grid, name) for name in grid.averages[1:]]
    made += [language_table(grid), metric_table(grid), protocol_table(grid)]
    return [table for table in made if table is not None]


def facts(records: Sequence[Record]) -> list[str]:
    """What a reader must know before the numbers."""
    status = Counter(r.status for r in records)
    counts = ", ".join(f"{status[s]} {s}" for s in ("ok", "failed", "oom", "cancelled") if status[s])
    machines = {(e.gpu or e.cpu, e.torch, e.transformers) for r in records if (e := r.environment)}
    found = [f"{len(records)} cells: {counts}. Last finished {max(r.finished for r in records)}."]
    found += [f"Machine: {m}; torch {t}, transformers {x}." for m, t, x in sorted(machines)]
    models = dict.fromkeys(f"{r.cell.model.name} ({r.cell.model.revision[:12]})" for r in records)
    found.append(f"Backbone: {', '.join(models)}. Data: {', '.join(dict.fromkeys(r.data_source for r in records))}.")
    return found


def _fill(template: str, context: dict[str, Any]) -> str:
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader,
        autoescape="html" in template,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(context)


def svg(figure: Figure) -> str:
    """The figure as an <svg> element, the same bytes each time."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lorasp", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()[stream.getvalue().index("<svg") :]


def png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})
    return stream.getvalue()


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Each file whole or not at all. Raises UserError for a disk that is full or forbidden."""
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            part = folder / f"{name}.part"
            part.write_bytes(content)
            os.replace(part, folder / name)
    except OSError as error:
        raise UserError(f"cannot write the report in {folder}: {error.strerror}; the records are stored") from error
