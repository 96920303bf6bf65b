"""A process that trains packs on one device, and the messages between it and the run that started it.

    run                               worker (one per device)
     │  label, ExecutorSetup ───────────▶  loads the plugins; torch is loaded (fork_server.py)
     │  ◀──────────────────────── Machine
     │  PackJob ────────────────────────▶  LocalExecutor on this device
     │  ◀────────────────────────── Event  progress, notes
     │  ◀─────────────────────── Finished  results, failure or interrupt

Messages are pickled. The rows of a task are large and the same for all its packs, so a worker receives each once and
later messages name it by a number (JobPickler, JobUnpickler). The worker writes checkpoints itself, since it shares the
disk with the run; records are written by the run only. Workers are not processes of multiprocessing, which would import
the user's script again.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.interrupt import catch_signals, defer_interrupts
from harness.core.process import follow_parent, name_process
from harness.core.provenance import get_utc_time
from harness.runner.executors.base import ExecutorSetup, Machine
from harness.runner.executors.job_pickle import RegisteredClassPickler, check_plugins, explain_pickle_errors

if TYPE_CHECKING:
    from harness.core.failure import Failure
    from harness.core.progress import PlannedPack
    from harness.core.record import Record
    from harness.training.pack_job import InputFacts, PackJob, PackOutcome
    from harness.training.result import Result

STEP_SECONDS = 0.5
"""Least time between two progress messages; a step may take less than a millisecond."""


@dataclasses.dataclass(frozen=True)
class Event:
    """A call of a method of Listener: on_pack_start, step or note."""

    name: str
    arguments: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Finished:
    """A PackOutcome without its job, which the run has."""

    started: str
    results: Mapping[int, Result]
    inputs: InputFacts | None
    failure: Failure | None
    interrupted: bool

    @staticmethod
    def of(outcome: PackOutcome) -> Finished:
        """The outcome without its job."""
        return Finished(outcome.started, outcome.results, outcome.inputs, outcome.failure, outcome.interrupted)


@dataclasses.dataclass(frozen=True)
class Refused:
    """A UserError, which ends the run: every further cell would meet it too."""

    message: str


Message = Machine | Event | Finished | Refused


# ---------------------------------------------------------------- pickles that send the rows of a task once


class JobPickler(RegisteredClassPickler):
    """Pickles jobs for one worker; `sent` maps the ids of the objects that it has received to their numbers."""

    def __init__(self, stream: io.BytesIO, sent: dict[int, tuple[int, object]]) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self.sent = sent

    def persistent_id(self, value: Any) -> tuple[int, bytes | None] | None:
        from harness.core.method import TaskData

        if not isinstance(value, TaskData):
            return None
        if id(value) in self.sent:
            return self.sent[id(value)][0], None
        # the object is kept, so that no other one gets its id
        self.sent[id(value)] = (len(self.sent), value)
        return self.sent[id(value)][0], pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


class JobUnpickler(pickle.Unpickler):
    """Reads jobs in a worker; `received` holds objects by number."""

    def __init__(self, stream: io.BytesIO, received: dict[int, object]) -> None:
        super().__init__(stream)
        self.received = received

    def persistent_load(self, pid: tuple[int, bytes | None]) -> object:
        number, content = pid
        if content is not None:
            self.received[number] = pickle.loads(content)
        return self.received[number]


Place = tuple[Path, Mapping[str, Any]]
"""Where a worker writes checkpoints: the folder, and the description of what wrote them."""


def dump_job(job: PackJob, place: Place, sent: dict[int, tuple[int, object]]) -> bytes:
    """The job for a worker that has received the objects in `sent`, to which this adds.

    Raises UserError for an object of a plugin that cannot be sent.
    """
    stream = io.BytesIO()
    with explain_pickle_errors(job):
        JobPickler(stream, sent).dump((job, place))
    return stream.getvalue()


# ---------------------------------------------------------------- in the worker


class ForwardingListener:
    """Sends the events of a pack to the run; steps at most every `seconds`."""

    def __init__(self, connection: Connection, seconds: float = STEP_SECONDS) -> None:
        self.connection, self.seconds, self.last_step = connection, seconds, 0.0

    def on_plan(self, packs: Sequence[PlannedPack]) -> None:
        raise NotImplementedError("packs are planned by the run")

    def on_pack_start(self, task: str, cells: int, steps: int, keys: Sequence[str] = (), worker: str = "") -> None:
        send(self.connection, Event("on_pack_start", (task, cells, steps, keys)))

    def step(self, step: int, losses: Sequence[float], worker: str = "") -> None:
        if time.monotonic() - self.last_step >= self.seconds:
            self.last_step = time.monotonic()
            send(self.connection, Event("step", (step, [float(loss) for loss in losses])))

    def note(self, line: str, worker: str = "") -> None:
        send(self.connection, Event("note", (line,)))

    def on_cell_end(self, record: Record) -> None:
        raise NotImplementedError("records are written by the run")

    def on_pack_end(self, worker: str = "") -> None:
        raise NotImplementedError("records are written by the run")

    def on_profile_start(self, label: str, number: int = 1, total: int = 1) -> None:
        raise NotImplementedError("profiles are taken by the run")

    def close(self) -> None:
        return


def main(descriptor: int) -> None:
    """Entry point of the process, a child of the fork server; `descriptor` is its connection to the run."""
    # the run decides, and sends SIGTERM, which lets the pack end its step
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    follow_parent()
    connection = Connection(descriptor)
    with catch_signals() as signals:
        try:
            serve(connection)
        except UserError as error:
            send(connection, Refused(str(error)))
        except KeyboardInterrupt:
            sys.exit(signals.exit_code)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the run has ended


def serve(connection: Connection) -> None:
    """Train the jobs that arrive, until one cannot be read. Raises UserError, and EOFError when the connection ends."""
    from harness.core.registry import load_same
    from harness.runner.executors.in_process import LocalExecutor
    from harness.training.checkpoint import Checkpoints

    start: tuple[str, ExecutorSetup, dict[Path, str]] = pickle.loads(connection.recv_bytes())
    label, setup, digests = start
    name_process(f"worker {label}")
    load_same(setup.plugins, digests)
    executor, listener = LocalExecutor(setup), ForwardingListener(connection)
    send(connection, executor.describe())
    received: dict[int, object] = {}
    while True:
        content = connection.recv_bytes()
        try:
            job, (folder, made_by) = JobUnpickler(io.BytesIO(content), received).load()
        except Exception as error:  # of a plugin's class, which builds itself anew here
            send(connection, _fail(error))
            return  # what it has not received would be missing in later jobs: another process takes them
        check_plugins(job)
        checkpoints = Checkpoints(folder, made_by, listener.note)
        for outcome in executor.run(deque([job]), checkpoints, listener):
            # a signal that comes while a finished pack is sent would lose it
            with defer_interrupts(lambda: False):
                try:
                    send(connection, Finished.of(outcome))
                except (pickle.PicklingError, TypeError, AttributeError) as error:  # of a plugin's results
                    send(connection, _fail(error))
            if outcome.interrupted:  # every further step would be too
                raise KeyboardInterrupt


def _fail(error: Exception) -> Finished:
    """The end of a job that could not be read, or whose results cannot be sent."""
    from harness.core.failure import Failure

    return Finished(get_utc_time(), {}, None, Failure.of(error), False)


def send(connection: Connection, message: Message) -> None:
    """Send a message. Tensors travel as bytes: torch's shared memory would need room in /dev/shm."""
    connection.send_bytes(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))


def receive(connection: Connection) -> Message:
    """The next message. Raises EOFError when the other side has ended."""
    message: Message = pickle.loads(connection.recv_bytes())
    return message
