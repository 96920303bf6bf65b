"""The executor that trains packs on several devices of this machine, with one worker process per device.

jobs ──> the next free worker ──> Finished ──────────────────> PackOutcome
 ^                                 the process ended: 1st time ─┐
 └── the pack again, from its last checkpoint <─────────────────┘
                                   2nd time ──────────────────> PackOutcome with a failure

Processes and their messages are in links.py; nothing here waits for anything but `Links.receive`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.core.device import WorkerDevice
from harness.core.errors import UserError
from harness.core.interrupt import defer_interrupts
from harness.core.provenance import get_utc_time
from harness.runner.executors.base import ExecutorSetup, Machine, read_seconds
from harness.runner.executors.links import Link, Links, ProcessLinks
from harness.runner.executors.restarts import MAX_KILLS, build_kill_failure, describe_restart, describe_start
from harness.runner.executors.worker import Event, Finished, Refused
from harness.training.checkpoint import Checkpoints
from harness.training.pack_job import PackJob, PackOutcome

if TYPE_CHECKING:
    from harness.core.listener import Listener

MAX_FAILED_STARTS = 2
"""Times in a row that a device's worker may end before it is ready; then the run goes on without the device."""
STOP_SECONDS = 20.0
"""Time that workers have to end their step and write a checkpoint after an interrupt; storing records follows."""
SILENT_SECONDS = 1800.0
"""A worker that trains and sends nothing for so long counts as hanging; the next variable overrides it."""
SILENT_VARIABLE = "LORASP_HARNESS_WORKER_SECONDS"
POLL_SECONDS = 1.0


@dataclasses.dataclass(eq=False)
class Worker:
    """A worker process as the run sees it; `job` is what it trains, `ready` is None until it has loaded the plugins."""

    device: WorkerDevice
    link: Link
    last_message: float
    ready: Machine | None = None
    job: PackJob | None = None
    started: str = ""


class WorkerPool:
    """Trains packs on `devices`; the workers start with the constructor, so that they load while the run plans."""

    def __init__(self, devices: Sequence[WorkerDevice], setup: ExecutorSetup, links: Links | None = None) -> None:
        self._failed_starts: Counter[str] = Counter()
        self._kills: Counter[tuple[str, ...]] = Counter()
        self._is_waiting = False
        self._notes: list[str] = []
        self._silent_seconds = read_seconds(SILENT_VARIABLE, SILENT_SECONDS)
        self._links = links or ProcessLinks(setup)
        self._workers = [self._start(device) for device in devices]

    @property
    def workers(self) -> int:
        return len(self._workers)

    def describe(self) -> Machine:
        """The machine, when all workers have loaded. Raises UserError if no worker starts."""
        while any(worker.ready is None for worker in self._workers):
            for worker, message in self._receive():
                if isinstance(message, Refused):
                    raise UserError(message.message)
                if message is None:
                    self._replace(worker)
        ready = [worker.ready for worker in self._workers if worker.ready is not None]
        return Machine(ready[0].environment, min(machine.free_memory for machine in ready))

    def run(self, jobs: deque[PackJob], checkpoints: Checkpoints, listener: Listener) -> Iterator[PackOutcome]:
        """See Executor."""
        # a signal that comes while the caller stores records waits until the caller asks for the next outcome
        with defer_interrupts(lambda: self._is_waiting) as raise_interrupt:
            try:
                while jobs or any(worker.job for worker in self._workers):
                    raise_interrupt()
                    self._assign(jobs, checkpoints)
                    for worker, message in self._receive():
                        if isinstance(message, Refused):
                            raise UserError(message.message)
                        if isinstance(message, Event):
                            getattr(listener, message.name)(*message.arguments, worker=worker.device.label)
                        elif isinstance(message, Finished) and worker.job is not None:
                            yield from self._finish(worker, message, jobs, checkpoints, raise_interrupt)
                        elif message is None:
                            yield from self._recover(worker, jobs, checkpoints)
                    while self._notes:
                        listener.note(self._notes.pop(0))
            except KeyboardInterrupt:
                yield from self._stop()

    def close(self) -> None:
        """End all workers now."""
        self._workers = []
        self._links.close()

    # ------------------------------------------------------------ workers

    def _start(self, device: WorkerDevice) -> Worker:
        return Worker(device, self._links.start(device), self._links.now())

    def _replace(self, worker: Worker) -> str:
        """Start a device's worker again after it ended, unless it never gets ready; returns why it ended."""
        reason = worker.link.end()
        place = self._workers.index(worker)
        label = worker.device.label
        if worker.ready is None:
            self._failed_starts[label] += 1
        if self._failed_starts[label] < MAX_FAILED_STARTS:
            if worker.ready is None:
                self._notes.append(f"the worker on {label} ended before it was ready ({reason}); it starts again")
            self._workers[place] = self._start(worker.device)
            return reason
        del self._workers[place]
        self._notes.append(f"no worker starts on {label} ({reason}): the run goes on without it")
        if not self._workers:
            raise UserError(
                f"no worker process starts ({label}: {reason}); finished cells are stored: "
                "the same command resumes, --devices chooses other devices"
            )
        return reason

    def _assign(self, jobs: deque[PackJob], checkpoints: Checkpoints) -> None:
        """Send jobs to the workers that are ready and have none."""
        for worker in self._workers:
            if jobs and worker.ready is not None and worker.job is None:
                worker.job, worker.started = jobs.popleft(), get_utc_time()
                worker.last_message = self._links.now()
                place = checkpoints.folder, checkpoints.made_by | worker.ready.environment.model_dump()
                worker.link.send(worker.job, place)

    def _receive(self) -> Iterator[tuple[Worker, Event | Finished | Refused | None]]:
        """Messages that have come within a second; None stands for a worker that has ended or hangs."""
        present = list(self._workers)
        self._is_waiting = True
        try:
            self._links.wait(POLL_SECONDS)
        finally:
            self._is_waiting = False
        for link, message in self._links.receive():
            worker = next((one for one in self._workers if one.link is link), None)
            if worker is None:  # it was replaced because it hung
                continue
            worker.last_message = self._links.now()
            if isinstance(message, Machine):
                worker.ready = message
                self._failed_starts[worker.device.label] = 0
            else:
                yield worker, message
        now = self._links.now()
        for worker in [one for one in self._workers if one in present]:
            if (worker.job or worker.ready is None) and now - worker.last_message > self._silent_seconds:
                yield worker, None

    # ------------------------------------------------------------ ends of packs and workers

    def _finish(
        self,
        worker: Worker,
        message: Finished,
        jobs: deque[PackJob],
        checkpoints: Checkpoints,
        raise_interrupt: Callable[[], None],
    ) -> Iterator[PackOutcome]:
        """The outcome of a worker's job; if it is good, the worker gets its next job before."""
        if message.interrupted:  # by somebody else: this process stops at every further step too
            yield from self._recover(worker, jobs, checkpoints)
            return
        outcome = _build_outcome(worker, message)
        if outcome.failure is None:  # after a failure the jobs that retry come first
            try:
                raise_interrupt()
                # the device does not wait until the records of the finished pack are stored
                self._assign(jobs, checkpoints)
            except KeyboardInterrupt:
                yield outcome
                raise
        yield outcome

    def _recover(self, worker: Worker, jobs: deque[PackJob], checkpoints: Checkpoints) -> Iterator[PackOutcome]:
        """After a worker has ended: its pack goes to the next free one, or is an outcome if this was the second."""
        job, started, ready = worker.job, worker.started, worker.ready
        reason = self._replace(worker)
        if job is None or ready is None:
            return
        keys = tuple(job.own_pack.keys)
        self._kills[keys] += 1
        if self._kills[keys] >= MAX_KILLS:
            yield PackOutcome(job, started, failure=build_kill_failure("worker process", reason))
            return
        start = checkpoints.read(job.pack, job.slots)
        why = f"the worker on {worker.device.label} ended ({reason})"
        self._notes.append(describe_restart(job, why, describe_start(start)))
        jobs.appendleft(dataclasses.replace(job, start=start or job.start))

    def _stop(self) -> Iterator[PackOutcome]:
        """After an interrupt: let packs end their step and write a checkpoint; outcomes of those that trained."""
        busy = [worker for worker in self._workers if worker.job is not None]
        for worker in busy:
            worker.link.interrupt()
        deadline = self._links.now() + STOP_SECONDS
        while any(worker.job for worker in busy) and self._links.now() < deadline:
            for worker, message in self._receive():
                if isinstance(message, Finished) and worker.job is not None:
                    yield _build_outcome(worker, message)
                elif message is None:  # it ended before its pack began
                    self._workers.remove(worker)
                    if worker.job is not None:
                        yield PackOutcome(worker.job, worker.started, interrupted=True)
                        worker.job = None
        for worker in busy:
            if worker.job is not None:
                yield PackOutcome(worker.job, worker.started, interrupted=True)
                worker.job = None
        self.close()


def _build_outcome(worker: Worker, message: Finished) -> PackOutcome:
    """The outcome of the worker's job; the worker is free then."""
    assert worker.job is not None
    job, worker.job = worker.job, None
    environment = None if worker.ready is None else worker.ready.environment
    fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    return PackOutcome(job, environment=environment, worker=worker.device.label, **fields)
