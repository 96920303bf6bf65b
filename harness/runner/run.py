"""A whole run: plan the cells, tune if asked, train the missing cells, profile the methods, read the records."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.core.cell import Cell
from harness.core.device import check_optimizers
from harness.core.errors import UserError
from harness.core.executor import REMOTE_EXECUTORS
from harness.core.files import check_writable, describe_os_error, escape_path
from harness.core.listener import Listener
from harness.core.primary import DEFAULT_COLLAPSE_MARGIN, check_primary
from harness.core.provenance import cuda_is_available
from harness.core.record import Profile, Record
from harness.core.registry import load_all
from harness.core.spec import Spec
from harness.core.store import Store, select_missing_cells, truncate_lines
from harness.core.text import count_having
from harness.models.adapter_files import is_saved
from harness.planning.plan import Plan, make_plan
from harness.planning.planned_cell import PlannedCell
from harness.runner.budget import Budget, BudgetReached, count_failures
from harness.runner.execute import execute, open_executor
from harness.runner.executors.base import Executor
from harness.runner.timeline import TimedListener, Timeline


@dataclasses.dataclass(frozen=True)
class RunResult:
    """Records and profiles of a run's folder after the run, in the plan's order, and its wall time in seconds."""

    out: Path
    records: tuple[Record, ...]
    profiles: tuple[Profile, ...]
    skipped: tuple[str, ...]
    """One line for each stored file that could not be used."""
    seconds: float
    timeline: Timeline
    remaining: str = ""
    """One line about the cells that the budget has left; '' where there are none."""

    @property
    def failed(self) -> int:
        return count_failures(self.records, self.remaining)


def list_method_names(plan: Plan) -> list[str]:
    """What the methods of a plan may be called: their labels, and their short names (qlora)."""
    names = [name for cell in _list_distinct(plan) for name in (cell.title, cell.label)]
    return list(dict.fromkeys(names))


def _list_distinct(plan: Plan) -> list[Cell]:
    """The first cell of each method and precision: the others differ in task and seeds, which no name has."""
    cells: dict[tuple[int, str, str], Cell] = {}
    for planned in plan.cells:
        # cells of a task share the method's object
        cells.setdefault((id(planned.method), planned.cell.dtype, planned.cell.quantize), planned.cell)
    return list(cells.values())


MOST_TITLE_METHODS = 4
"""A run of more methods is titled by their number: the report's first table names them all."""


def format_title(plan: Plan, spec: Spec) -> str:
    methods = dict.fromkeys(cell.title for cell in _list_distinct(plan))
    named = ", ".join(methods) if len(methods) <= MOST_TITLE_METHODS else f"{len(methods)} methods"
    start = f", starting from {spec.init_from}" if spec.init_from else ""
    return f"{' and '.join(spec.suite)}: {named}{start}"


def is_late(store: Store, field: str, value: object, results: bool) -> bool:
    """Whether `field` of run.json (margin, primary, collapse_margin) is set or changed after results exist.

    It may then depend on them, so the report flags it as post hoc.
    """
    if not results:
        return False
    try:
        previous_run = store.read_run()
    except UserError:
        return value not in (None, DEFAULT_COLLAPSE_MARGIN)
    return bool(previous_run[f"{field}_late"]) if previous_run[field] == value else True


def declare_question(store: Store, spec: Spec, names: Sequence[str], results: bool) -> dict[str, object]:
    """The fields of run.json that say what the run asks; those not given are as an earlier run of the folder had them.

    Primary comparisons of an earlier run hold only if `names`, the methods of this one, still have them all.
    """
    primary, collapse_margin = spec.primary, spec.collapse_margin
    with contextlib.suppress(UserError):  # a new folder has no run.json
        previous_run = store.read_run()
        collapse_margin = previous_run["collapse_margin"] if collapse_margin is None else collapse_margin
        if primary is None and previous_run["primary"] is not None:
            check_primary(previous_run["primary"], names)
            primary = previous_run["primary"]
    collapse_margin = DEFAULT_COLLAPSE_MARGIN if collapse_margin is None else collapse_margin
    return {
        "primary": primary,
        "primary_late": is_late(store, "primary", primary, results),
        "collapse_margin": collapse_margin,
        "collapse_margin_late": is_late(store, "collapse_margin", collapse_margin, results),
    }


def run(
    spec: Spec,
    command: str,
    listen: Callable[[int], Listener],
    when_idle: Callable[[], object] = lambda: None,
    select: Callable[[Plan], Plan] = lambda plan: plan,
) -> RunResult:
    """The result of a run after training the cells that have no record yet.

    `listen` makes a listener for a number of cells. `when_idle` is called when worker processes begin to train: this
    one waits for them from then on. `select` returns the plan with those cells that shall train, such as one learning
    rate for each method and task, which no spec can say. Raises UserError, and BudgetReached without a record to
    report; after KeyboardInterrupt the same command resumes.
    """
    started, timeline, budget = time.monotonic(), Timeline(), Budget.of(spec)
    timeline.mark("imported")
    load_all(spec.plugin)
    store = Store(spec.folder)
    store.prepare(_list_later_folders(spec))
    # two runs in one folder would train the same cells; workers load torch while the cells are planned
    with store.lock(), open_executor(spec) as executor:
        plan = select(make_plan(spec))
        names = list_method_names(plan)
        if spec.primary is not None:
            check_primary(spec.primary, names)
        if spec.tune or spec.tune_tasks or spec.tune_seeds > 1:
            from harness.runner.tuning.tuning import tune

            plan = tune(plan, spec, command, listen, executor, budget)
        remaining = _find_remaining(plan, spec, store, executor)
        plan = remaining.plan
        store.write_run(
            command,
            format_title(plan, spec),
            [c.key for c in plan.cells],
            plan.dropped,
            spec.margin,
            spec.margin is not None and is_late(store, "margin", spec.margin, remaining.has_results),
            declare_question(store, spec, names, remaining.has_results),
        )
        timeline.mark("planned")
        prepare = functools.partial(_prepare_end, spec, when_idle)
        listener, left = TimedListener(listen(len(remaining.cells)), timeline, prepare), ""
        try:
            for line in remaining.notes:
                listener.note(line)
            if remaining.cells:
                keys = execute(plan, remaining.cells, spec, store, listener, executor, budget)
                left = budget.describe_remaining(keys) if keys else ""
            executor.close()  # a profile is taken alone on its device
            # read again: what is returned is what a later command finds in the folder
            records, skipped = store.read()
            if left and not records:
                raise BudgetReached(left)
            profiles = _take_profiles(plan, spec, store, listener, records.values(), may_measure=not budget.reached)
            timeline.mark("profiled")
            store.declare({"timeline": timeline.seconds})
            for line in skipped:
                listener.note(line)
        finally:
            listener.close()
    chosen = tuple(records[c.key] for c in plan.cells if c.key in records)
    seconds = time.monotonic() - started
    return RunResult(spec.folder, chosen, tuple(profiles), tuple(skipped), seconds, timeline, left)


@dataclasses.dataclass(frozen=True)
class _Remaining:
    """The plan without cells that cannot train, its `cells` without a record, and lines to show before training.

    `has_results` says whether some cell of the plan has a record.
    """

    plan: Plan
    cells: Sequence[PlannedCell]
    has_results: bool
    notes: Sequence[str]


def _find_remaining(plan: Plan, spec: Spec, store: Store, executor: Executor) -> _Remaining:
    """The cells of a plan that are still to train. Raises UserError if the plan has no cell that can."""
    # damaged records are set aside here, so that their cells count as missing below
    records, set_aside = store.repair()
    notes = _check_checkpoint_folder(store)
    if spec.save_adapters:
        records, adapter_notes = require_adapters(store.out, plan, records)
        notes += adapter_notes
    missing = select_missing_cells(plan.cells, records, retry=spec.retry)
    if missing:  # may import torch and build models of the methods, which a finished run does not need
        from harness.planning.preflight import drop_unfit_cells

        # before any training: otherwise a method that does not fit would fail hours later
        plan = drop_unfit_cells(plan, missing, cache=spec.cache)
        missing = select_missing_cells(plan.cells, records, retry=spec.retry)
        # the devices of the executor: this process may have none, as on the head of a cluster
        check_optimizers([planned.cell for planned in missing], executor.describe().environment.device)
    if not plan.cells:
        raise UserError(f"nothing is left to run: {'; '.join(plan.dropped)}")
    total = len(plan.cells)
    counts = f"{total} cells: {total - len(missing)} done, {len(missing)} to run"
    lines = [*set_aside, *plan.dropped, *plan.notes, *notes, *plan.data_notes, counts]
    return _Remaining(plan, missing, any(c.key in records for c in plan.cells), lines)


def _list_later_folders(spec: Spec) -> list[str]:
    """Subfolders that are written after training: they are checked before it, so that no training is lost."""
    optional_folders = {"adapters": spec.save_adapters, "bases": spec.save_adapters, "tensorboard": spec.tensorboard}
    return ["report", "report/figures", *(name for name, wanted in optional_folders.items() if wanted)]


def _check_checkpoint_folder(store: Store) -> list[str]:
    """A note if checkpoints cannot be written; the run continues without them."""
    folder = store.out / "checkpoints"
    try:
        if os.path.lexists(folder):
            check_writable(folder)
    except OSError as error:
        return [f"no checkpoints: cannot write in {escape_path(folder)}: {describe_os_error(error)}"]
    return []


def require_adapters(out: Path, plan: Plan, records: dict[str, Record]) -> tuple[dict[str, Record], list[str]]:
    """The records without those that lack an adapter, so that their cells run again, and notes about it."""
    exporting = {planned.key for planned in plan.cells if planned.method.exports}
    lacking = {k for k, r in records.items() if k in exporting and r.status == "ok" and not is_saved(out, r)}
    unsupported = sorted({planned.method.name for planned in plan.cells if not planned.method.exports})
    lines = [f"not expressible in peft: {', '.join(unsupported)}; not saved"] if unsupported else []
    if lacking:
        cells = count_having(len(lacking), "finished cell")
        lines.append(f"{cells} no saved adapter: training again to save it")
    return {k: r for k, r in records.items() if k not in lacking}, lines


def _prepare_end(spec: Spec, when_idle: Callable[[], object], worker: str) -> None:
    """While cells train, let the process import torch from which profiles are forked, and the caller what it needs."""
    if worker:
        when_idle()
    if spec.profile and spec.executor not in REMOTE_EXECUTORS:
        from harness.profiling.worker import start_server
        from harness.runner.profiles import PRELOADED

        start_server(PRELOADED)


def _take_profiles(
    plan: Plan, spec: Spec, store: Store, listener: Listener, records: Iterable[Record], *, may_measure: bool
) -> list[Profile]:
    if not spec.profile:
        return []
    if not may_measure:  # the time of the budget is over
        return list(store.profiles().values())
    if spec.executor in REMOTE_EXECUTORS:
        listener.note(f"profiles are not taken with --executor {spec.executor}: run `profile` on one of its nodes")
        return list(store.profiles().values())
    if (
        any(record.environment and record.environment.device == "cuda" for record in records)
        and not cuda_is_available()
    ):
        listener.note("no new profiles: the cells trained on a GPU, and this machine has none")
        return list(store.profiles().values())
    from harness.runner.profiles import profile_missing

    return profile_missing(plan, spec, store, listener)


def load_run(out: Path) -> tuple[tuple[Record, ...], list[Profile], list[str]]:
    """Records in the order of the run, profiles, and one line for each file that is skipped. Raises UserError.

    Changes nothing in the folder.
    """
    store = Store(out)
    run_info = store.read_run()
    records, lines = store.read()
    chosen = tuple(records[key] for key in run_info["order"] if key in records)
    profiles, more = store.read_profiles()
    return chosen, list(profiles.values()), [*lines, *more]


def build_no_records_error(out: Path, skipped: Sequence[str]) -> UserError:
    """The error for a folder without a usable record; `skipped` are lines about damaged ones."""
    if skipped:
        return UserError(
            f"{escape_path(out)}: none of its records can be used: {'; '.join(truncate_lines(skipped, 3))}; "
            "run its command again, which trains these cells"
        )
    return UserError(f"{escape_path(out)} holds no records; run cells first")
