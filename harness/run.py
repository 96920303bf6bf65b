"""The whole way of a run: plan, what is missing, execute, profile, report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.adapter_files import saved
from harness.errors import UserError
from harness.plan import Plan, make_plan
from harness.progress import Listener
from harness.record import Profile, Record
from harness.registry import load_all
from harness.spec import Spec
from harness.store import Store, missing

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
    store.prepare()
    with store.lock():
        plan = make_plan(spec)
        if spec.tune or spec.tune_tasks or spec.tune_seeds > 1:
            from harness.tuning import tune

            plan = tune(plan, spec, command, listen)
        records, set_aside = store.read()
        notes: list[str] = []
        if spec.save_adapters:
            records, notes = with_adapters(store.out, plan, records)
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
        finally:
            listener.close()
        records, _ = store.read()
    chosen = tuple(records[c.key] for c in plan.cells if c.key in records)
    report = write_report(store, chosen, profiles, spec)
    return Outcome(spec.folder, report, chosen, tuple(profiles), time.monotonic() - started)


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


def write_report(
    store: Store,
    records: tuple[Record, ...],
    profiles: list[Profile],
    spec: Spec,
    found: Findings | None = None,
) -> Path:
    """The report of a folder, from what is stored there, as the spec's fields of SHOWN say.

    `found` stands in the place of what the statistics say.
    """
    from harness.tuning import read
    from reports.render import write_report as render
    from reports.tuning import with_tuning

    asked = store.read_run()
    absent = len(set(asked["order"]) - {r.key for r in records})
    lost = [f"{absent} of {len(asked['order'])} cells have no record: the same command runs them"] if absent else []
    path: Path = render(
        records,
        profiles,
        store.out / "report",
        asked["title"],
        asked["command"],
        [*asked["dropped"], *lost],
        findings=with_tuning(found or _found(store, records, profiles), records, read(store.out)),
        published=_published() if spec.published else [],
        formats=spec.formats,
        images=spec.figures,
    )
    if spec.tensorboard:
        from reports.tensorboard import write_events

        write_events(records, store.out / "tensorboard")
    return path


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
    """Records in the order of the run, profiles, and lines about files set aside. Raises UserError."""
    store = Store(out)
    asked = store.read_run()
    records, lines = store.read()
    chosen = tuple(records[key] for key in asked["order"] if key in records)
    return chosen, list(store.profiles().values()), lines


def report(out: Path, spec: Spec | None = None) -> tuple[Path, list[str]]:
    """Write the report again from a run's folder; returns where it is, and lines about files set aside."""
    records, profiles, lines = stored(out)
    if not records:
        raise UserError(f"no records for a report in {out}; run cells first")
    return write_report(Store(out), records, profiles, spec or Spec()), lines
