"""The whole way of a run: plan, what is missing, execute, profile, report."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.adapter_files import saved
from harness.errors import UserError
from harness.files import check_writable, escape_path, reason_of
from harness.garbage import pause_collection
from harness.plan import Plan, make_plan
from harness.progress import Listener
from harness.record import Profile, Record, Tuned
from harness.registry import load_all
from harness.spec import Spec
from harness.store import Store, first_lines, missing

if TYPE_CHECKING:
    from reports.document import Findings


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    out: Path
    report: Path
    records: tuple[Record, ...]
    profiles: tuple[Profile, ...]
    seconds: float

    @property
    def failed(self) -> int:
        return sum(r.status != "ok" for r in self.records)


def title_of(plan: Plan, spec: Spec) -> str:
    methods = dict.fromkeys(cell.title for cell in plan.cells)
    start = f", starting from {spec.init_from}" if spec.init_from else ""
    return f"{' and '.join(spec.suite)}: {', '.join(methods)}{start}"


def margin_late(store: Store, margin: float | None, results: bool) -> bool:
    """Whether a margin is named, or changed, when the folder has results already: it may follow from them."""
    if margin is None or not results:
        return False
    try:
        before = store.read_run()
    except UserError:
        return True
    return bool(before.get("margin_late")) if before.get("margin") == margin else True


def run(spec: Spec, command: str, listen: Callable[[int], Listener]) -> Outcome:
    """Run what is missing and write the report. Raises UserError; KeyboardInterrupt leaves a folder that resumes."""
    started = time.monotonic()
    load_all(spec.plugin)
    check_shown(spec)
    store = Store(spec.folder)
    store.prepare(_later_folders(spec))
    with store.lock():
        plan = make_plan(spec)
        if spec.tune or spec.tune_tasks or spec.tune_seeds > 1:
            from harness.tuning import tune

            plan = tune(plan, spec, command, listen)
        records, set_aside = store.repair()
        notes = _no_checkpoints(store)
        if spec.save_adapters:
            records, about_adapters = with_adapters(store.out, plan, records)
            notes += about_adapters
        todo = missing(plan.cells, records, retry=spec.retry)
        if todo:
            from harness.preflight import fitting

            plan = fitting(plan, todo)
            todo = missing(plan.cells, records, retry=spec.retry)
        if not plan.cells:
            raise UserError(f"nothing is left to run: {'; '.join(plan.dropped)}")
        late = margin_late(store, spec.margin, any(c.key in records for c in plan.cells))
        store.write_run(command, title_of(plan, spec), [c.key for c in plan.cells], plan.dropped, spec.margin, late)
        listener = listen(len(todo))
        try:
            about = [f"{s}/{task}: {note}" for (s, task), data in plan.data.items() for note in data.notes]
            for line in [*set_aside, *plan.dropped, *plan.notes, *notes, *about]:
                listener.note(line)
            total = len(plan.cells)
            listener.note(f"{total} cells: {total - len(todo)} done, {len(todo)} to run")
            if todo:
                from harness.execute import execute

                execute(plan, todo, spec, store, listener)
            profiles = _profiles(plan, spec, store, listener)
            records, skipped = store.read()
            for line in skipped:
                listener.note(line)
        finally:
            listener.close()
    chosen = tuple(records[c.key] for c in plan.cells if c.key in records)
    report = write_report(store, chosen, profiles, spec, notes=skipped)
    return Outcome(spec.folder, report, chosen, tuple(profiles), time.monotonic() - started)


def _later_folders(spec: Spec) -> list[str]:
    """Folders below that of the run which are written to after training."""
    named = {"adapters": spec.save_adapters, "bases": spec.save_adapters, "tensorboard": spec.tensorboard}
    return ["report", "report/figures", *(name for name, wanted in named.items() if wanted)]


def _no_checkpoints(store: Store) -> list[str]:
    """A line where packs cannot be resumed; the run goes on without."""
    folder = store.out / "checkpoints"
    try:
        if os.path.lexists(folder):
            check_writable(folder)
    except OSError as error:
        return [f"no checkpoints: cannot write in {escape_path(folder)}: {reason_of(error)}"]
    return []


def with_adapters(out: Path, plan: Plan, records: dict[str, Record]) -> tuple[dict[str, Record], list[str]]:
    """The records less those whose adapter is not there, so that their cells run again; lines about it."""
    methods = {key: method for key, method in plan.methods.items() if method.exports}
    lacking = {k for k, r in records.items() if k in methods and r.status == "ok" and not saved(out, r)}
    never = sorted({m.name for k, m in plan.methods.items() if k not in methods})
    lines = [f"not expressible in peft: {', '.join(never)}; not saved"] if never else []
    if lacking:
        lines.append(f"{len(lacking)} finished cells have no adapter saved: they run again for it")
    return {k: r for k, r in records.items() if k not in lacking}, lines


def check_shown(spec: Spec) -> None:
    """Raise UserError for a format that is not there, before any training."""
    from reports.figures import IMAGES
    from reports.render import FORMATS, check

    check("format", spec.formats, FORMATS)
    check("figure format", spec.figures, IMAGES)
    if spec.tensorboard:
        from reports.tensorboard import writer

        writer()


def _profiles(plan: Plan, spec: Spec, store: Store, listener: Listener) -> list[Profile]:
    if not spec.profile:
        return []
    from harness.profile import profile_missing

    return profile_missing(plan, spec, store, listener)


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
) -> Path:
    """The report of a folder, from what is stored there, as the spec's fields of SHOWN say.

    `found` stands in the place of what the statistics say. `notes` are lines about files that were skipped, `folder`
    is where to write instead of OUT/report.
    """
    from reports.render import write_report as render
    from reports.tuning import with_tuning

    asked = store.read_run()
    tuned, about_tuning = _tuned(store.out)
    absent = len(set(asked["order"]) - {r.key for r in records})
    lost = [f"{absent} of {len(asked['order'])} cells have no record: the same command runs them"] if absent else []
    path: Path = render(
        records,
        profiles,
        folder or store.out / "report",
        asked["title"],
        asked["command"],
        [*asked["dropped"], *lost, *first_lines(notes), *about_tuning],
        findings=with_tuning(found or _found(store, records, profiles), records, tuned),
        published=_published() if spec.published else [],
        formats=spec.formats,
        images=spec.figures,
    )
    if spec.tensorboard:
        from reports.tensorboard import write_events

        write_events(records, (folder or store.out) / "tensorboard")
    return path


def _tuned(out: Path) -> tuple[list[Tuned], list[str]]:
    """What tuning found, and a line where its file is damaged: the report goes without."""
    from harness.tuning import read

    try:
        return read(out), []
    except UserError as error:
        return [], [str(error)]


def _found(store: Store, records: tuple[Record, ...], profiles: list[Profile]) -> Findings:
    from reports.findings import findings
    from reports.statistics.analysis import analyse

    asked = store.read_run()
    late = bool(asked.get("margin_late"))
    return findings(analyse(records, profiles, margin=asked.get("margin"), cells=store.cells, late=late))


def _published() -> list[dict[str, str]]:
    from results.published import read

    return read()


def stored(out: Path) -> tuple[tuple[Record, ...], list[Profile], list[str]]:
    """Records in the order of the run, profiles, and lines about files that are skipped. Raises UserError.

    Nothing in the folder is changed.
    """
    store = Store(out)
    asked = store.read_run()
    records, lines = store.read()
    chosen = tuple(records[key] for key in asked["order"] if key in records)
    profiles, more = store.read_profiles()
    return chosen, list(profiles.values()), [*lines, *more]


def report(out: Path, spec: Spec | None = None, to: Path | None = None) -> tuple[Path, list[str]]:
    """Write the report again from a run's folder, into `to` if given; where it is, and lines about skipped files."""
    records, profiles, lines = stored(out)
    if not records:
        raise no_records(out, lines)
    path = write_report(Store(out), records, profiles, spec or Spec(), notes=lines, folder=to)
    return path, [*lines, *_tuned(out)[1]]


def no_records(out: Path, skipped: Sequence[str]) -> UserError:
    """The error for a folder without any record that can be used."""
    if skipped:
        return UserError(
            f"{escape_path(out)}: none of its records can be used: {'; '.join(first_lines(skipped, 3))}; "
            "run its command again, which trains these cells"
        )
    return UserError(f"{escape_path(out)} holds no records; run cells first")
