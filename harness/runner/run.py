"""A whole run: plan the cells, tune if asked, train the missing cells, profile the methods, read the records."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.core.errors import UserError
from harness.core.executor import REMOTE_EXECUTORS
from harness.core.files import escape_path
from harness.core.listener import Listener
from harness.core.looks import Decide, Look, Looks, parse_looks
from harness.core.primary import check_primary
from harness.core.profile import Profile
from harness.core.provenance import cuda_is_available
from harness.core.record import Record
from harness.core.registry import get_plugin_contents, load_all
from harness.core.spec import Spec
from harness.core.store import Store, truncate_lines
from harness.planning.plan import Plan, make_plan
from harness.runner.auto_seeds import LookedRun, TrainedPlan, check_looks, train_looks
from harness.runner.budget import Budget, BudgetReached, count_failures
from harness.runner.declared import (
    declare_looks,
    declare_question,
    format_title,
    is_late,
    list_method_names,
)
from harness.runner.execute import execute, open_executor
from harness.runner.executors.base import Executor
from harness.runner.remaining import Remaining, find_remaining
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
    looks: tuple[Look, ...] = ()
    """The looks of an automatic number of seeds."""
    stopped: str = ""
    """Why an automatic run added no more seeds: 'decided', or the limit that ended it."""

    @property
    def failed(self) -> int:
        return count_failures(self.records, self.remaining)


def run(
    spec: Spec,
    command: str,
    listen: Callable[[int], Listener],
    when_idle: Callable[[], object] = lambda: None,
    decide: Decide | None = None,
    select: Callable[[Plan], Plan] = lambda plan: plan,
) -> RunResult:
    """The result of a run after training the cells that have no record yet.

    `listen` makes a listener for a number of cells. `when_idle` is called when worker processes begin to train: this
    one waits for them from then on. `decide` judges the looks of `--seeds auto`, which needs it. `select` returns the
    plan with those cells that shall train, such as one learning rate for each method and task, which no spec can say.
    Raises UserError, and BudgetReached without a record to report; after KeyboardInterrupt the same command resumes.
    """
    started, timeline, budget = time.monotonic(), Timeline(), Budget.of(spec)
    timeline.mark("imported")
    looks = parse_looks(spec.seeds)
    if looks is not None and decide is None:
        raise UserError(f"--seeds {spec.seeds}: only the command `run` adds seeds by itself; give a number of seeds")
    # what the caller has loaded is not read again: a file that is edited in between would be another plugin
    load_all([path for path in spec.plugin if path not in get_plugin_contents(spec.plugin)])
    store = Store(spec.folder)
    store.prepare(_list_later_folders(spec))
    # two runs in one folder would train the same cells; workers load torch while the cells are planned
    with store.lock(), open_executor(spec) as executor:
        plan = select(make_plan(spec))
        names = _check_question(spec, plan, looks, store)
        if spec.tune or spec.tune_tasks or spec.tune_seeds > 1:
            from harness.runner.tuning.tuning import tune

            plan = tune(plan, spec, command, listen, executor, budget)
        training = _Training(spec, command, names, store, executor, budget, listen, timeline, when_idle)
        try:
            if looks is None or decide is None:
                remaining = training.begin(plan)
                # not through `train`: a traceback from a training step stays one frame shorter
                keys = set[str]()
                if remaining.cells:
                    keys = execute(remaining.plan, remaining.cells, spec, store, training.listener, executor, budget)
                looked = LookedRun(remaining.plan, (), "", budget.describe_remaining(keys) if keys else "")
            else:
                looked = train_looks(plan, looks, decide, training.train, lambda: store.read()[0], training.note)
                declared = {"looks": looked.looks, "stopped": looked.stopped}
                store.declare(declared | {"order": [c.key for c in looked.plan.cells]})
            executor.close()  # a profile is taken alone on its device
            # read again: what is returned is what a later command finds in the folder
            records, skipped = store.read()
            if looked.remaining and not records:
                raise BudgetReached(looked.remaining)
            profiles = training.take_profiles(looked.plan, records.values())
            for line in skipped:
                training.note(line)
        finally:
            training.close()
    chosen = tuple(records[c.key] for c in looked.plan.cells if c.key in records)
    seconds, left = time.monotonic() - started, looked.remaining
    return RunResult(
        spec.folder, chosen, tuple(profiles), tuple(skipped), seconds, timeline, left, looked.looks, looked.stopped
    )


class _Training:
    """Trains plans of one run: one, or with an automatic number of seeds one for each look, with a listener each."""

    def __init__(
        self,
        spec: Spec,
        command: str,
        names: Sequence[str],
        store: Store,
        executor: Executor,
        budget: Budget,
        listen: Callable[[int], Listener],
        timeline: Timeline,
        when_idle: Callable[[], object],
    ) -> None:
        self.spec, self.command, self.names, self.store = spec, command, names, store
        self.executor, self.budget, self.listen, self.timeline = executor, budget, listen, timeline
        self.prepare = functools.partial(_prepare_end, spec, when_idle)
        self._listener: TimedListener | None = None

    @property
    def listener(self) -> TimedListener:
        assert self._listener is not None, "nothing was trained"
        return self._listener

    def note(self, line: str) -> None:
        self.listener.note(line)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()

    def begin(self, plan: Plan) -> Remaining:
        """What is to train of a plan, which run.json then has; with a listener for it. Raises UserError."""
        remaining = find_remaining(plan, self.spec, self.store, self.executor)
        self._write_run(remaining)
        self.timeline.mark("planned")
        if self._listener is None or remaining.cells:
            self.close()
            self._listener = TimedListener(self.listen(len(remaining.cells)), self.timeline, self.prepare)
            for line in remaining.notes:
                self.note(line)
        return remaining

    def train(self, plan: Plan) -> TrainedPlan:
        """Train the missing cells of a plan. Raises what `run` raises."""
        remaining = self.begin(plan)
        if not remaining.cells:
            return TrainedPlan(remaining.plan, "")
        keys = execute(
            remaining.plan, remaining.cells, self.spec, self.store, self.listener, self.executor, self.budget
        )
        return TrainedPlan(remaining.plan, self.budget.describe_remaining(keys) if keys else "")

    def take_profiles(self, plan: Plan, records: Iterable[Record]) -> list[Profile]:
        """The profiles of the plan's methods, after measuring those that are missing if the budget has time for it."""
        may_measure = not self.budget.reached
        profiles = _take_profiles(plan, self.spec, self.store, self.listener, records, may_measure=may_measure)
        self.timeline.mark("profiled")
        self.store.declare({"timeline": self.timeline.seconds})
        return profiles

    def _write_run(self, remaining: Remaining) -> None:
        spec, store, plan = self.spec, self.store, remaining.plan
        store.write_run(
            self.command,
            format_title(plan, spec),
            [c.key for c in plan.cells],
            plan.dropped,
            spec.margin,
            spec.margin is not None and is_late(store, "margin", spec.margin, remaining.has_results),
            declare_question(store, spec, self.names, remaining.has_results)
            | declare_looks(store, spec, remaining.has_results),
        )


def _check_question(spec: Spec, plan: Plan, looks: Looks | None, store: Store) -> list[str]:
    """The names of the plan's methods. Raises UserError for primary comparisons of others, and for other looks."""
    names = list_method_names(plan)
    if spec.primary is not None:
        check_primary(spec.primary, names)
    check_looks(looks, plan, store)
    return names


def _list_later_folders(spec: Spec) -> list[str]:
    """Subfolders that are written after training: they are checked before it, so that no training is lost."""
    optional_folders = {"adapters": spec.save_adapters, "bases": spec.save_adapters, "tensorboard": spec.tensorboard}
    return ["report", "report/figures", *(name for name, wanted in optional_folders.items() if wanted)]


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
