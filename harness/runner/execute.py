"""Execute planned cells: train them pack by pack and store a record of each.

cells ──> jobs (deque) ──> executor ──> PackOutcome ──> Recorder ──> store
            ^                               │
            └── smaller jobs, if it failed <┘
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.executor import EXECUTORS
from harness.core.interrupt import is_signalled
from harness.core.progress import PlannedPack
from harness.core.text import count_noun
from harness.planning.balance import balance_packs, count_pack_steps, count_scoring_steps, weigh_pack, weigh_step
from harness.planning.packs import group_remaining
from harness.profiling.capacity import Capacity
from harness.runner.budget import Budget
from harness.runner.executors.base import Executor, ExecutorSetup
from harness.runner.recorder import Recorder
from harness.training.checkpoint import Checkpoints
from harness.training.pack_job import PackJob, PackOutcome
from harness.training.recovery import recover

if TYPE_CHECKING:
    from harness.core.listener import Listener
    from harness.core.spec import Spec
    from harness.core.store import Store
    from harness.planning.plan import Plan
    from harness.planning.planned_cell import PlannedCell


def build_setup(spec: Spec) -> ExecutorSetup:
    """What the run asks of its executor."""
    cache = _get_token_cache(spec)
    places = spec.address, spec.slurm, spec.folder
    return ExecutorSetup(spec.device, spec.devices, spec.threads, spec.plugin, cache, *places)


@contextlib.contextmanager
def open_executor(spec: Spec) -> Iterator[Executor]:
    """The executor of a run, which has ended all of its processes when the context ends. Raises UserError."""
    executor = _create_executor(spec)
    with contextlib.closing(executor):
        yield executor


def _create_executor(spec: Spec) -> Executor:
    """The executor that the run names. Raises UserError if a plugin's cannot be made or is none."""
    create = EXECUTORS.get(spec.executor)
    if spec.executor not in EXECUTORS.sources:
        executor: Executor = create(build_setup(spec))
        return executor
    what = f"executor '{spec.executor}'"
    try:
        executor = create(build_setup(spec))
    except (KeyboardInterrupt, UserError):
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{what} raises {type(error).__name__} when it is made: {error}") from error
    missing = [name for name in ("describe", "run", "close") if not callable(getattr(executor, name, None))]
    if missing or not isinstance(getattr(executor, "workers", None), int):
        listed = ", ".join([*(f"{name}()" for name in missing), *([] if missing else ["workers, a number"])])
        raise UserError(f"{what} has no {listed}; derive it from LocalExecutor, or see Executor in the docs")
    return executor


def execute(
    plan: Plan,
    cells: Sequence[PlannedCell],
    spec: Spec,
    store: Store,
    listener: Listener,
    executor: Executor,
    budget: Budget | None = None,
) -> set[str]:
    """Train `cells` in packs and store a record of each; packs that an earlier run began are resumed first.

    Returns the keys of the cells that the budget left without a record. Raises UserError, also if the executor leaves
    cells without an outcome, and KeyboardInterrupt after it has stored `cancelled` records.
    """
    budget = budget or Budget()
    machine, budget.workers = executor.describe(), executor.workers
    # a checkpoint of a run without --save-adapters lacks those of its finished cells; so for --sharpness
    made_by = machine.environment.model_dump() | {"--save-adapters": spec.save_adapters}
    made_by |= {"--sharpness": True} if spec.sharpness else {}
    checkpoints = Checkpoints(store.out / "checkpoints", made_by, listener.note)
    keys = {cell.key for cell in cells}
    recorder = Recorder(store, machine.environment, keys, chosen="asked" if spec.pack else "memory")
    capacity = Capacity(machine.environment.device, machine.free_memory, cache=spec.cache)
    every_job = list(_list_jobs(plan, cells, spec, capacity, checkpoints, executor.workers))
    jobs = deque(budget.select_jobs(every_job, lambda job: weigh_pack(job.own_pack, capacity.device)))
    expected = {key for job in jobs for key in job.own_pack.keys} & keys
    del every_job  # a job may hold the tensors of a checkpoint
    listener.on_plan([_describe_job(job, capacity.device) for job in jobs])
    interrupted = False
    # weak, for the same reason
    seen = weakref.WeakValueDictionary[int, PackJob]()
    outcomes = iter(_check_outcomes(executor.run(jobs, checkpoints, listener), spec.executor))
    with budget.watch():
        while True:
            budget.stop_if_spent(jobs)
            try:
                with budget.limit.interruptible():
                    outcome = next(outcomes, None)
            except KeyboardInterrupt:
                # an executor whose packs outlive the run ends without outcomes of them
                if is_signalled() or not budget.check():
                    raise
                break
            if outcome is None:
                break
            if _is_new(outcome, seen, spec.executor):
                # other workers may still have outcomes
                interrupted |= _store_outcome(outcome, jobs, recorder, checkpoints, listener, budget)
    if interrupted:
        raise KeyboardInterrupt
    if (missing := len(expected - recorder.written)) and not budget.reached:
        raise UserError(
            f"executor '{spec.executor}' ends without an outcome for {count_noun(missing, 'cell')}; finished cells are "
            "stored: the same command resumes, --executor local trains them here"
        )
    return keys - recorder.written


def _store_outcome(
    outcome: PackOutcome,
    jobs: deque[PackJob],
    recorder: Recorder,
    checkpoints: Checkpoints,
    listener: Listener,
    budget: Budget,
) -> bool:
    """Store the records of an outcome, and add the jobs that retry it; whether the user has interrupted it."""
    budget.count(outcome)
    if outcome.interrupted and budget.check() and not is_signalled():
        return False  # it has a checkpoint, and the same command goes on from there
    records = recorder.write(outcome)
    for record in records:
        listener.on_cell_end(record)
    for line in recorder.list_new_truncations(records):
        listener.note(line)
    if not outcome.interrupted:
        # retries come first: their checkpoints exist, and the task's tokenized rows are still loaded
        jobs.extendleft(reversed(_resolve(outcome, recorder, checkpoints, listener)))
        listener.on_pack_end(outcome.worker)
    return outcome.interrupted


def _check_outcomes(outcomes: Iterable[PackOutcome], name: str) -> Iterable[PackOutcome]:
    """What the executor `name` returned. Raises UserError if it cannot yield outcomes."""
    if not isinstance(outcomes, Iterable):
        raise UserError(f"executor '{name}': its run() returns {type(outcomes).__name__}; wanted: PackOutcome objects")
    return outcomes


def _is_new(outcome: PackOutcome, seen: weakref.WeakValueDictionary[int, PackJob], name: str) -> bool:
    """Whether this is the first outcome of its job, which it adds to `seen`. Raises UserError for anything else."""
    if not isinstance(outcome, PackOutcome):
        raise UserError(f"executor '{name}' yields {type(outcome).__name__}; wanted: PackOutcome")
    if id(outcome.job) in seen:  # a second outcome would train a failed pack's cells twice
        return False
    seen[id(outcome.job)] = outcome.job
    return True


def _describe_job(job: PackJob, device: str) -> PlannedPack:
    """The work of a pack as the progress of a run counts it."""
    step_work = weigh_step(job.pack, device)
    return PlannedPack(
        tuple(job.own_pack.keys), count_pack_steps(job.pack), step_work, count_scoring_steps(job.pack) * step_work
    )


def _list_jobs(
    plan: Plan,
    cells: Sequence[PlannedCell],
    spec: Spec,
    capacity: Capacity,
    checkpoints: Checkpoints,
    workers: int,
) -> Iterator[PackJob]:
    """Packs with a checkpoint of an earlier run, then packs of the other cells."""
    resumed_keys: set[str] = set()
    for pack, checkpoint in checkpoints.find(plan.cells, {cell.key for cell in cells}, spec.pack):
        resumed_keys |= set(checkpoint.slot_keys)
        yield PackJob(pack, checkpoint, spec.save_adapters, spec.sharpness)
    waiting = [cell.key for cell in cells if cell.key not in resumed_keys]
    weigh = functools.partial(weigh_pack, device=capacity.device)
    balance = functools.partial(balance_packs, workers=workers, weigh=weigh)
    for pack in group_remaining(plan.cells, waiting, spec.pack or capacity.most, balance if workers > 1 else None):
        yield PackJob(pack, save_adapters=spec.save_adapters, sharpness=spec.sharpness)


def _resolve(
    outcome: PackOutcome, recorder: Recorder, checkpoints: Checkpoints, listener: Listener
) -> Sequence[PackJob]:
    """The jobs that retry a failed outcome, none after a success; replaces the pack's checkpoint with theirs."""
    following: Sequence[PackJob] = ()
    if outcome.failure is not None:
        recovery = recover(outcome)
        following = recovery.jobs
        for record in recorder.write_recovered(outcome, recovery):
            listener.on_cell_end(record)
        if recovery.note:
            listener.note(recovery.note)
        for job in following:
            if job.start is not None:  # a run that is killed from here on resumes the halves, not the whole
                checkpoints.write(job.start)
    checkpoints.drop(outcome.job.own_pack.keys)
    return following


def _get_token_cache(spec: Spec) -> Path | None:
    """The cache folder of tokenized rows; None with --no-cache."""
    from harness.core.cache_folder import cache_folder

    return cache_folder() if spec.cache else None
