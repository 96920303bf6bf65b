"""Run a study: train what is missing, let the rule answer, and write the report with the verdict on top."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.files import append_digest, write_atomically
from harness.core.listener import Listener
from harness.core.record import Record
from harness.core.registry import load_all
from harness.core.spec import DECLARED_FIELDS, RUNS, Spec
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.planning.plan import Plan
from harness.runner.run import build_no_records_error, load_run as stored_run, run
from reports.document import Findings
from results.report import check_formats, write_report
from studies import stored
from studies.answer import Answer, StudyRuns
from studies.collected import (
    PLAIN_RUN_RULES,
    add_exact_contents,
    build_study_runs,
    collect_contents,
    load_runs_of_study,
)
from studies.declared_rates import Rates, select_rates
from studies.fresh_seeds import FreshRecords, select_fresh_records
from studies.page import build_findings, build_page
from studies.rulebook import TABLE_RULES, check_study as check_rule, judge_study
from studies.specs import build_specs, list_confirming, list_grid_rates, resolve_folder
from studies.study import Study
from studies.surface.runs import FILE as RUNS_FILE, read_runs, write_runs
from studies.surface.stages import check_spec, run_stages

RUN_ROOTS = (RUNS, Path("results/reference"))
"""Folders that `claims` reads without --runs."""


@dataclasses.dataclass(frozen=True)
class StudyOutcome:
    """The result of a study."""

    out: Path
    report: Path
    answer: Answer
    cells: int
    failed: int
    stand_in: bool
    late: bool
    seconds: float


def run_study(
    study: Study,
    flags: Mapping[str, Any],
    command: str,
    listen: Callable[[int], Listener],
    runs: Sequence[Path] = (),
    on_report: Callable[[], object] = lambda: None,
) -> StudyOutcome:
    """Train the cells that are missing in the study's folder, and answer its question. Raises UserError.

    `on_report` is called when training and profiles are over.
    """
    started = time.monotonic()
    load_all(flags.get("plugin", ()))
    check_request(study, runs)
    grid_specs = build_specs(study, flags)
    first_spec = grid_specs[0] if grid_specs else make_spec(dict(flags))
    check_formats(first_spec)
    confirming = list_confirming(study, flags)
    if not runs:
        for spec, count in zip(grid_specs, confirming, strict=True):
            check_spec(study.name, spec, count)
    # a stored run that is judged here is no run of this study, so it gets a folder of its own
    default_out = resolve_folder(study, [], first_spec.preset, runs) if runs or not grid_specs else grid_specs[0].folder
    out = Path(flags.get("out") or default_out)
    # Before any training: a folder of another study must not get these cells.
    stored.check_folder(out, study)
    is_training = bool(grid_specs) and not runs
    if is_training:
        run_grids(study, grid_specs, command, listen, out, confirming, list_grid_rates(study, flags))
    on_report()
    if is_training:
        study_runs, lines = load_folder(study, out)
    else:
        study_runs, lines = _load_stored(study, runs, _list_roots(flags, out)), []
    answer = judge_study(study, study_runs)
    preset = study_runs.records[0].cell.preset if study_runs.records else first_spec.preset
    _store_content(out, stored.build_content(study, answer, study_runs, preset, command))
    if answer.runs is not None:
        write_runs(answer.runs, out / RUNS_FILE)
    path = _write_report(study, answer, study_runs, out, first_spec, command, lines, is_whole=is_training)
    failed = sum(r.status != "ok" for r in study_runs.records)
    return StudyOutcome(
        out,
        path,
        answer,
        len(study_runs.records),
        failed,
        study_runs.stand_in,
        study_runs.late,
        time.monotonic() - started,
    )


def _load_stored(study: Study, runs: Sequence[Path], roots: Sequence[Path]) -> StudyRuns:
    """What a study judges that trains nothing: the named `runs`, or for `claims` all under `roots` without them."""
    if study.rule == "claims":
        return StudyRuns(stored=add_exact_contents(collect_contents(runs or roots, named=bool(runs))))
    if not runs:
        return StudyRuns()
    if study.rule in TABLE_RULES:
        return StudyRuns(margin=study.margin, runs=read_runs(runs[0]))
    return load_runs_of_study(study, runs[0])


def check_request(study: Study, runs: Sequence[Path]) -> None:
    """Raise UserError for a study that its rule cannot judge, and for --runs that it cannot judge."""
    check_rule(study)
    if runs and study.rule != "claims" and len(runs) > 1:
        judged = "stored table" if study.rule in TABLE_RULES else "stored run"
        raise UserError(f"--runs: study {study.name} judges one {judged}; give one folder")
    if runs and study.rule not in ("claims", *TABLE_RULES, *PLAIN_RUN_RULES):
        raise UserError(f"--runs: study {study.name} trains its own cells; allowed: study claims --runs DIR,DIR")


def _list_roots(flags: Mapping[str, Any], out: Path) -> list[Path]:
    """The folder that contains --out if given, else the usual folders of runs."""
    return [out.parent] if flags.get("out") else [root for root in RUN_ROOTS if root.is_dir()]


def run_grids(
    study: Study,
    made: Sequence[Spec],
    command: str,
    listen: Callable[[int], Listener],
    out: Path,
    confirming: Sequence[int] = (),
    rates: Sequence[Rates] = (),
) -> None:
    """Run every grid into one folder, and write its run.json.

    Of each grid: `confirming`, its fresh seeds (run_stages), and `rates`, those that it declares by method.
    """
    records: dict[str, Record] = {}
    dropped: list[str] = []
    store = Store(out)
    store.prepare()

    def train(spec: Spec, select: Callable[[Plan], Plan] = lambda plan: plan) -> Sequence[Record]:
        with _mark_folder(out, study):
            # Without a report of its own: the study writes one for all grids at the end.
            outcome = run(spec.model_copy(update={"formats": ("csv",), "figures": ()}), command, listen, select=select)
        records.update({r.key: r for r in outcome.records})
        dropped.extend(store.read_run()["dropped"])
        return outcome.records

    try:
        for i, spec in enumerate(made):
            select = select_rates(rates[i] if i < len(rates) else {})
            if i < len(confirming) and confirming[i]:
                for _ in run_stages(spec, confirming[i], train, select):
                    pass
            else:
                train(spec, select)
    except BaseException:
        # run.json has the cells of the stage that stopped: a report of the folder must not miss those before it
        if records:
            store.declare({"order": list(dict.fromkeys([*records, *store.read_run()["order"]]))})
        raise
    run_info = store.read_run()
    title = f"study {study.name}: {', '.join(dict.fromkeys(r.cell.label for r in records.values()))}"
    # The store sets this flag when a margin comes or changes after the first record.
    late = bool(run_info["margin_late"])
    store.write_run(command, title, list(records), list(dict.fromkeys(dropped)), run_info["margin"], late)


@contextlib.contextmanager
def _mark_folder(out: Path, study: Study) -> Iterator[None]:
    """Write the declaration before anything is trained, and remove it again if nothing could be planned."""
    fresh = not (out / stored.FILE).is_file()
    if fresh:
        _store_content(out, stored.build_marker(study))
    try:
        yield
    except UserError:
        if fresh and not (out / "run.json").is_file():
            (out / stored.FILE).unlink()
        raise


def load_folder(study: Study, out: Path) -> tuple[StudyRuns, list[str]]:
    """The runs in a study's folder, and lines about skipped files. Raises UserError where there is no run."""
    from reports.statistics.analysis import analyse

    records, profiles, lines = stored_run(out)
    if not records:
        raise build_no_records_error(out, lines)
    # the rules of a table choose the rates themselves
    fresh = FreshRecords(records) if study.rule in TABLE_RULES else select_fresh_records(records)
    seen = build_study_runs(out, fresh, profiles)
    if study.compares:
        study_analysis = analyse(seen.records, profiles, margin=seen.margin, cells=seen.cells, late=seen.late)
        seen = dataclasses.replace(seen, analysis=study_analysis)
    return seen, lines


def rewrite_study_report(out: Path, spec: Spec, to: Path | None = None) -> tuple[Path, list[str]]:
    """Write a study's report again from its folder, into `to` if given, and lines about skipped files.

    The verdict is computed again from the records; without records it is the stored one.
    """
    load_all(spec.plugin)
    content = stored.read_content(out)
    # The declaration as it was when the study ran, so that a later edit cannot change its margin.
    study = stored.load_declared(content)
    if any(getattr(spec, name) is not None for name in DECLARED_FIELDS):
        raise UserError(
            f"{out} is study {study.name}, which declares its question itself; leave out --primary, --collapse-margin"
        )
    check_request(study, ())
    # the runs that --runs has named are in another folder
    has_runs = bool(study.grids) and (out / "run.json").is_file()
    study_runs, lines = load_folder(study, out) if has_runs else (StudyRuns(), [])
    answer = judge_study(study, study_runs) if has_runs else stored.load_answer(content)
    return _write_report(study, answer, study_runs, out, spec, content.get("command", ""), lines, to), lines


def _write_report(
    study: Study,
    answer: Answer,
    seen: StudyRuns,
    out: Path,
    spec: Spec,
    command: str,
    lines: Sequence[str] = (),
    to: Path | None = None,
    *,
    is_whole: bool = True,
) -> Path:
    """Write the report; the ordinary tables of its runs are part of it where it `is_whole`."""
    from reports import findings as ordinary
    from reports.render import write_page

    # thousands of cells that differ in a rate are no methods to rank: the tables of the rule are the report
    if not seen.records or answer.runs is not None or not is_whole:
        page = build_page(study, answer, build_findings(study, answer, seen, Findings()), command)
        path: Path = write_page(page, to or out / "report", spec.formats, spec.figures)
        return path
    analysis = seen.analysis
    below = (
        ordinary.build_findings(analysis) if analysis else ordinary.build_check_findings(seen.records, seen.profiles)
    )
    return write_report(
        Store(out),
        tuple(seen.records),
        list(seen.profiles),
        spec,
        build_findings(study, answer, seen, below),
        notes=lines,
        folder=to,
    )


def _store_content(out: Path, content: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / stored.FILE, append_digest(json.dumps(content, indent=1).encode()))
