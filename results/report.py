"""Write the report of a run's folder from its stored records and profiles."""

from __future__ import annotations

import dataclasses
import importlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.garbage import pause_collection
from harness.core.looks import Look
from harness.core.profile import Profile
from harness.core.record import Record
from harness.core.registry import load_entry_points, load_package, load_plugin
from harness.core.spec import DECLARED_FIELDS, Spec
from harness.core.store import Store, truncate_lines
from harness.core.tuned import Tuned
from harness.runner.run import build_no_records_error, load_run

if TYPE_CHECKING:
    from reports.document import Findings
    from reports.statistics.analysis import Analysis
    from reports.statistics.families import Question


def check_formats(spec: Spec) -> None:
    """Raise UserError for a format that does not exist or a plugin's table whose name is taken, before any training."""
    from reports.figures import IMAGES
    from reports.render import FORMATS, check_allowed

    check_allowed("format", spec.formats, FORMATS)
    check_allowed("figure format", spec.figures, IMAGES)
    # Loading our tables and plots refuses a plugin that took one of their names.
    for package in ("reports.tables", "reports.plots"):
        load_package(package)
    if spec.tensorboard:
        from reports.tensorboard import load_writer

        load_writer()


def import_in_background() -> None:
    """Import what a report needs in a thread, for a process that waits for others."""
    names = "reports.findings", "reports.tuning", "reports.render", "matplotlib.figure", "scipy.stats", "statsmodels"
    threading.Thread(target=lambda: [importlib.import_module(name) for name in names], daemon=True).start()


@pause_collection()
def write_report(
    store: Store,
    records: tuple[Record, ...],
    profiles: list[Profile],
    spec: Spec,
    found: Findings | None = None,
    *,
    notes: Sequence[str] = (),
    folder: Path | None = None,
    analysis: Analysis | None = None,
    with_text: bool = False,
) -> Path:
    """Write the report of a folder in the formats of the spec; returns its path.

    `found` replaces the findings of the statistics. `notes` are lines about skipped files; `folder` is used instead of
    OUT/report. `analysis`: that of the records, if the caller has it (see analyse_run). `with_text`: show texts of
    examples, read from the source that the spec names. Raises UserError if their source has changed.
    """
    from reports.findings import build_findings
    from reports.render import write_report as render
    from reports.tuning import add_tuning

    run_info = store.read_run()
    # before the statistics, which take longer: a source that has changed ends the command
    texts = _read_texts(records, spec) if with_text else {}
    tuned, about_tuning = _read_tuned(store.out)
    found = found or build_findings(analysis or analyse_run(store, records, profiles, spec))
    findings = add_tuning(found, records, tuned)
    if with_text:
        from reports.example_text_tables import add_example_texts

        findings = add_example_texts(findings, records, store.cells, texts)
    # An interrupted run has a report too; the note says what it lacks.
    absent = len(set(run_info["order"]) - {r.key for r in records})
    missing_notes = (
        [f"{absent} of {len(run_info['order'])} cells have no record: the same command runs them"] if absent else []
    )
    path: Path = render(
        records,
        profiles,
        folder or store.out / "report",
        run_info["title"],
        run_info["command"],
        [*run_info["dropped"], *missing_notes, *truncate_lines(notes), *about_tuning],
        findings=findings,
        published=_read_published() if spec.published else [],
        formats=spec.formats,
        images=spec.figures,
    )
    if spec.tensorboard:
        from reports.tensorboard import write_events

        write_events(records, (folder or store.out) / "tensorboard")
    return path


def _read_texts(records: Sequence[Record], spec: Spec) -> dict[tuple[str, str], Mapping[tuple[str, str], Any]]:
    """Suite and task -> the texts of its examples by split and id."""
    from harness.runner.example_texts import read_example_texts

    tasks: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        tasks.setdefault((record.cell.suite, record.cell.task), []).append(record)
    return {place: read_example_texts(group, spec).texts for place, group in tasks.items()}


def _read_tuned(out: Path) -> tuple[list[Tuned], list[str]]:
    """The tuned settings, and a line where their file is damaged; the report then lacks them."""
    from harness.runner.tuning.tuning import read_tuned

    try:
        return read_tuned(out), []
    except UserError as error:
        return [], [str(error)]


@pause_collection()
def analyse_run(store: Store, records: Sequence[Record], profiles: Sequence[Profile], spec: Spec) -> Analysis:
    """The statistics of a run's records, with the margin and the question that the run or the spec declares."""
    from reports.statistics.analysis import analyse

    run_info = store.read_run()
    return analyse(
        records,
        profiles,
        margin=run_info["margin"],
        cells=store.cells,
        late=run_info["margin_late"],
        question=read_question(run_info, spec),
    )


def read_question(run_info: Mapping[str, Any], spec: Spec) -> Question:
    """What the stored run declared, and in its place what the spec of a report declares: that is post hoc."""
    from reports.statistics.families import Question

    stored = {field.name: run_info[field.name] for field in dataclasses.fields(Question)}
    stored["looks"] = tuple(map(Look.model_validate, run_info["looks"]))
    changed = {
        name: value
        for name in sorted(DECLARED_FIELDS)
        if (value := getattr(spec, name)) is not None and value != stored[name]
    }
    return Question(**stored | changed | {f"{name}_late": True for name in changed})


def _store_question(store: Store, records: Sequence[Record], spec: Spec) -> None:
    """Keep in run.json what the report declares, flagged as post hoc. Raises UserError for a method that is missing."""
    from reports.frames import build_grids
    from reports.statistics.families import resolve_primary

    run_info = store.read_run()
    question = read_question(run_info, spec)
    resolve_primary(question.primary, build_grids(records))
    names = [*DECLARED_FIELDS, *(f"{name}_late" for name in DECLARED_FIELDS)]
    declared = {name: getattr(question, name) for name in names}
    if declared != {name: run_info[name] for name in declared}:
        with store.lock():
            store.declare(declared)


def _read_published() -> list[dict[str, str]]:
    from results.published import read_published

    return read_published()


def rewrite_report(
    out: Path, spec: Spec | None = None, to: Path | None = None, *, with_text: bool = False
) -> tuple[Path, list[str]]:
    """Write the report again from a run's folder, into `to` if given; where it is, and lines about skipped files.

    `with_text`: show texts of examples, read from the source that the spec names.
    """
    records, profiles, lines = load_run(out)
    if not records:
        raise build_no_records_error(out, lines)
    spec = spec or Spec()
    # Plugins may define metrics and tables that the stored records need.
    load_entry_points()
    for plugin in spec.plugin:
        load_plugin(plugin)
    check_formats(spec)
    if to is None and any(getattr(spec, name) is not None for name in DECLARED_FIELDS):
        _store_question(Store(out), records, spec)
    path = write_report(Store(out), records, profiles, spec, notes=lines, folder=to, with_text=with_text)
    return path, [*lines, *_read_tuned(out)[1]]
