"""The executor that trains packs on several devices of this machine, with one worker process per device.

jobs ──> the next free worker ──> Finished ──────────────────> PackOutcome
 ^                                 the process ended: 1st time ─┐
 └── the pack again, from its last checkpoint <─────────────────┘
                                   2nd time ──────────────────> PackOutcome with a failure
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from harness.core.device import WorkerDevice
from harness.core.errors import UserError
from harness.core.interrupt import defer_interrupts
from harness.core.process import build_child_environment
from harness.core.provenance import get_utc_time
from harness.core.registry import get_plugin_digests
from harness.runner.executors.base import ExecutorSetup, Machine, read_seconds
from harness.runner.executors.restarts import MAX_KILLS, build_kill_failure, describe_restart, describe_start
from harness.runner.executors.worker import Event, Finished, Refused, dump_job, receive
from harness.training.checkpoint import Checkpoints
from harness.training.pack_job import PackJob, PackOutcome

if TYPE_CHECKING:
    from harness.core.listener import Listener

MAX_FAILED_STARTS = 2
"""Times in a row that a device's worker may end before it is ready; then the run goes on without the device."""
STOP_SECONDS = 25.0
"""Time that workers have to end their step and write a checkpoint after an interrupt."""
SILENT_SECONDS = 1800.0
"""A worker that trains and sends nothing for so long counts as hanging; the next variable overrides it."""
SILENT_VARIABLE = "LORASP_HARNESS_WORKER_SECONDS"
POLL_SECONDS = 1.0


@dataclasses.dataclass
class Worker:
    """A worker process as the run sees it; `job` is what it trains, `ready` is None until it has loaded torch.

    `sent` are the objects that it has received (see JobPickler).
    """

    device: WorkerDevice
    process: subprocess.Popen[bytes]
    connection: Connection
    last_message: float
    sent: dict[int, tuple[int, object]] = dataclasses.field(default_factory=dict)
    ready: Machine | None = None
    job: PackJob | None = None
    started: str = ""


class WorkerPool:
    """Trains packs on `devices`; the workers start with the constructor, so that they load while the run plans."""

    def __init__(self, devices: Sequence[WorkerDevice], setup: ExecutorSetup) -> None:
        self.setup = setup
        self._failed_starts: Counter[str] = Counter()
        self._kills: Counter[tuple[str, ...]] = Counter()
        self._is_waiting = False
        self._silent_seconds = read_seconds(SILENT_VARIABLE, SILENT_SECONDS)
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
                    self._replace(worker, [])
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
                    notes: list[str] = []
                    for worker, message in self._receive():
                        if isinstance(message, Refused):
                            raise UserError(message.message)
                        if isinstance(message, Event):
                            getattr(listener, message.name)(*message.arguments, worker=worker.device.label)
                        elif isinstance(message, Finished) and worker.job is not None:
                            yield _build_outcome(worker, message)
                        elif message is None:
                            outcome = self._recover(worker, jobs, notes, checkpoints)
                            if outcome is not None:
                                yield outcome
                    for line in notes:
                        listener.note(line)
            except KeyboardInterrupt:
                yield from self._stop()

    def close(self) -> None:
        """End all workers now."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
        self._workers = []

    # ------------------------------------------------------------ processes

    def _start(self, device: WorkerDevice) -> Worker:
        ours, theirs = Pipe()
        setup = dataclasses.replace(self.setup, device=device.kind, devices=None, threads=device.threads)
        process = subprocess.Popen(
            [sys.executable, "-c", "from harness.runner.executors.worker import main; main()", str(theirs.fileno())],
            env={**os.environ, **build_child_environment(), **device.environment},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what libraries print must not mix with the answer of --json
            process_group=0,  # Ctrl-C in a terminal is for the run, which tells the workers
        )
        # the worker holds the only other end: its death is the end of the stream
        theirs.close()
        with contextlib.suppress(BrokenPipeError):  # noticed when its first message does not come
            ours.send_bytes(pickle.dumps((setup, get_plugin_digests(setup.plugins))))
        return Worker(device, process, ours, time.monotonic())

    def _replace(self, worker: Worker, notes: list[str]) -> str:
        """Start a device's worker again after it ended, unless it never gets ready; returns why it ended."""
        reason = _end(worker)
        place = self._workers.index(worker)
        if worker.ready is None:
            self._failed_starts[worker.device.label] += 1
        if self._failed_starts[worker.device.label] < MAX_FAILED_STARTS:
            self._workers[place] = self._start(worker.device)
            return reason
        del self._workers[place]
        notes.append(f"no worker starts on {worker.device.label} ({reason}): the run goes on without it")
        if not self._workers:
            raise UserError(
                f"no worker process starts ({worker.device.label}: {reason}); finished cells are stored: "
                "the same command resumes, --devices chooses other devices"
            )
        return reason

    def _assign(self, jobs: deque[PackJob], checkpoints: Checkpoints) -> None:
        """Send jobs to the workers that are ready and have none."""
        for worker in self._workers:
            if jobs and worker.ready is not None and worker.job is None:
                worker.job, worker.started = jobs.popleft(), get_utc_time()
                worker.last_message = time.monotonic()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is found dead when it is read
                    where = checkpoints.folder, checkpoints.made_by | worker.ready.environment.model_dump()
                    worker.connection.send_bytes(dump_job(worker.job, where, worker.sent))

    def _receive(self) -> Iterator[tuple[Worker, Event | Finished | Refused | None]]:
        """Messages that have come within a second; None stands for a worker that has ended or hangs."""
        workers = {id(worker.connection): worker for worker in self._workers}
        self._is_waiting = True
        try:
            readable = wait([worker.connection for worker in self._workers], POLL_SECONDS)
        finally:
            self._is_waiting = False
        for connection in readable:
            worker = workers[id(connection)]
            try:
                message = receive(worker.connection)
            except (EOFError, OSError):
                yield worker, None
                continue
            worker.last_message = time.monotonic()
            if isinstance(message, Machine):
                worker.ready = message
                self._failed_starts[worker.device.label] = 0
            else:
                yield worker, message
        now = time.monotonic()
        for worker in [one for one in self._workers if id(one.connection) in workers]:
            if (worker.job or worker.ready is None) and now - worker.last_message > self._silent_seconds:
                yield worker, None

    # ------------------------------------------------------------ ends of workers

    def _recover(
        self, worker: Worker, jobs: deque[PackJob], notes: list[str], checkpoints: Checkpoints
    ) -> PackOutcome | None:
        """After a worker has ended: its pack goes to the next free one, or is an outcome if this was the second."""
        job, started, ready = worker.job, worker.started, worker.ready
        reason = self._replace(worker, notes)
        if job is None or ready is None:
            return None
        keys = tuple(job.own_pack.keys)
        self._kills[keys] += 1
        if self._kills[keys] >= MAX_KILLS:
            return PackOutcome(job, started, failure=build_kill_failure("worker process", reason))
        start = checkpoints.read(job.pack, job.slots)
        why = f"the worker on {worker.device.label} ended ({reason})"
        notes.append(describe_restart(job, why, describe_start(start)))
        jobs.appendleft(dataclasses.replace(job, start=start or job.start))
        return None

    def _stop(self) -> Iterator[PackOutcome]:
        """After an interrupt: let packs end their step and write a checkpoint; outcomes of those that trained."""
        busy = [worker for worker in self._workers if worker.job is not None]
        for worker in busy:
            worker.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(worker.job for worker in busy) and time.monotonic() < deadline:
            for worker, message in self._receive():
                if isinstance(message, Finished) and worker.job is not None:
                    yield _build_outcome(worker, message)
                elif message is None:  # it ended before its pack began
                    self._workers.remove(worker)
                    _end(worker)
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


def _end(worker: Worker) -> str:
    """End a process that has ended or hangs; returns why it ended."""
    worker.connection.close()
    try:
        code = worker.process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        worker.process.kill()
        worker.process.wait()
        return "it hung"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
