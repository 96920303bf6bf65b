"""Execute planned cells: train them pack by pack and store a record of each.

cells ──> jobs (deque) ──> executor ──> PackOutcome ──> Recorder ──> store
            ^                               │
            └── smaller jobs, if it failed <┘
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.device import choose_device, choose_threads
from harness.core.executor import EXECUTORS
from harness.core.failure import release_memory
from harness.core.process import has_spinning_threads
from harness.core.provenance import describe_environment
from harness.planning.packs import group_remaining
from harness.profiling.capacity import Capacity, get_free_memory
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
    from harness.runner.executors.base import Executor

SPINNING = (
    "torch was imported before the harness, so its idle threads spin and slow a busy machine; "
    "import the harness first, or set OMP_WAIT_POLICY=PASSIVE"
)


def execute(plan: Plan, cells: Sequence[PlannedCell], spec: Spec, store: Store, listener: Listener) -> None:
    """Train `cells` in packs and store a record of each; packs that an earlier run began are resumed first.

    Raises UserError, and KeyboardInterrupt after it has stored `cancelled` records.
    """
    device, threads = choose_device(spec.device), choose_threads(spec.threads)
    if has_spinning_threads() and threads > 1:
        listener.note(SPINNING)
    machine = describe_environment(device, threads)
    # a checkpoint of a run without --save-adapters lacks the adapters of its finished cells
    made_by = machine.model_dump() | {"--save-adapters": spec.save_adapters}
    checkpoints = Checkpoints(store.out / "checkpoints", made_by, listener.note)
    recorder = Recorder(store, machine, {cell.key for cell in cells}, chosen="asked" if spec.pack else "memory")
    jobs = deque(_list_jobs(plan, cells, spec, device, checkpoints))
    executor: Executor = EXECUTORS.get(spec.executor)(device, _token_cache(spec), checkpoints, listener)
    for outcome in executor.run(jobs):
        for record in recorder.write(outcome):
            listener.on_cell_end(record)
        if outcome.interrupted:
            raise KeyboardInterrupt
        # retries come first: their checkpoints exist, and the task's tokenized rows are still loaded
        jobs.extendleft(reversed(_resolve(outcome, recorder, checkpoints, listener)))


def _list_jobs(
    plan: Plan, cells: Sequence[PlannedCell], spec: Spec, device: str, checkpoints: Checkpoints
) -> Iterator[PackJob]:
    """Packs with a checkpoint of an earlier run, then packs of the other cells."""
    resumed_keys: set[str] = set()
    for pack, checkpoint in checkpoints.find(plan.cells, {cell.key for cell in cells}, spec.pack):
        resumed_keys |= set(checkpoint.slot_keys)
        yield PackJob(pack, checkpoint, spec.save_adapters)
    waiting = [cell.key for cell in cells if cell.key not in resumed_keys]
    # read the GPU's free memory now, before the run allocates anything on it
    capacity = Capacity(device, get_free_memory(device), cache=spec.cache)
    for pack in group_remaining(plan.cells, waiting, spec.pack or capacity.most):
        yield PackJob(pack, save_adapters=spec.save_adapters)


def _resolve(
    outcome: PackOutcome, recorder: Recorder, checkpoints: Checkpoints, listener: Listener
) -> Sequence[PackJob]:
    """The jobs that retry a failed outcome, none after a success; replaces the pack's checkpoint with theirs."""
    following: Sequence[PackJob] = ()
    if outcome.failure is not None:
        release_memory()  # the error's frames, which held the pack's tensors, are gone by now
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


def _token_cache(spec: Spec) -> Path | None:
    """The cache folder of tokenized rows; None with --no-cache."""
    from harness.core.cache_folder import cache_folder

    return cache_folder() if spec.cache else None
