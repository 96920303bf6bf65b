"""The whole way of a run: plan, what is missing, execute, profile, report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from harness.errors import UserError
from harness.plan import Plan, make_plan
from harness.progress import Listener
from harness.record import Profile, Record
from harness.registry import load_all
from harness.spec import Spec
from harness.store import Store, missing


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
    methods = dict.fromkeys(cell.label for cell in plan.cells)
    return f"{' and '.join(spec.suite)}: {', '.join(methods)}"


def run(spec: Spec, command: str, listen: Callable[[int], Listener]) -> Outcome:
    """Run what is missing and write the report. Raises UserError; KeyboardInterrupt leaves a folder that resumes."""
    started = time.monotonic()
    load_all(spec.plugin)
    check_shown(spec)
    store = Store(spec.folder)
    store.prepare()
    with store.lock():
        plan = make_plan(spec)
        records, set_aside = store.read()
        todo = missing(plan.cells, records, retry=spec.retry)
        if todo:
            from harness.preflight import fitting

            plan = fitting(plan, todo)
            todo = missing(plan.cells, records, retry=spec.retry)
        if not plan.cells:
            raise UserError(f"nothing is left to run: {'; '.join(plan.dropped)}")
        store.write_run(command, title_of(plan, spec), [c.key for c in plan.cells], plan.dropped)
        listener = listen(len(todo))
        try:
            for line in [*set_aside, *plan.dropped]:
                listener.note(line)
            total = len(plan.cells)
            listener.note(f"{total} cells: {total - len(todo)} done, {len(todo)} to run")
            if todo:
                from harness.execute import execute

                execute(plan, todo, spec, store, listener)
            profiles = _profiles(plan, spec, store, listener)
        finally:
            listener.close()
        records, _ = store.read()
    chosen = tuple(records[c.key] for c in plan.cells if c.key in records)
    report = write_report(store, chosen, profiles, spec)
    return Outcome(spec.folder, report, chosen, tuple(profiles), time.monotonic() - started)


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


def write_report(store: Store, records: tuple[Record, ...], profiles: list[Profile], spec: Spec) -> Path:
    """The report of a folder, from what is stored there, as the spec's fields of SHOWN say."""
    from reports.render import write_report as render

    asked = store.read_run()
    path: Path = render(
        records,
        profiles,
        store.out / "report",
        asked["title"],
        asked["command"],
        asked["dropped"],
        published=_published() if spec.published else [],
        formats=spec.formats,
        images=spec.figures,
    )
    if spec.tensorboard:
        from reports.tensorboard import write_events

        write_events(records, store.out / "tensorboard")
    return path


def _published() -> list[dict[str, str]]:
    from results.published import read

    return read()


def stored(out: Path) -> tuple[tuple[Record, ...], list[Profile], list[str]]:
    """Records in the order of the run, profiles, and lines about files set aside. Raises UserError."""
    store = Store(out)
    asked = store.read_run()
    records, lines = store.read()
    chosen = tuple(records[key] for key in asked["order"] if key in records)
    return chosen, list(store.profiles().values()), lines


def report(out: Path, spec: Spec | None = None) -> tuple[Path, list[str]]:
    """Write the report again from a run's folder; returns where it is, and lines about files set aside."""
    records, profiles, lines = stored(out)
    return write_report(Store(out), records, profiles, spec or Spec()), lines
