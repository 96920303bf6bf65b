"""The executor `ray`: trains packs as tasks of a Ray cluster, or of a Ray that it starts on this machine.

jobs ──> tasks (CPUs or a GPU, memory) ──> Ray places them, and starts them again on another node
 ^           │ messages, checkpoints            └──> Trained ──> PackOutcome
 │           ▼
 │        Mailbox ──> listener, OUT/checkpoints
 └── (recovery, as with any executor)

The driver writes records and checkpoints, so nodes share no disk with it. A driver that is lost takes its tasks with
it; the same command resumes from the checkpoints on its disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.executor import EXECUTORS
from harness.core.failure import Failure
from harness.core.interrupt import defer_interrupts
from harness.core.provenance import describe_environment, get_utc_time
from harness.core.registry import get_plugin_contents
from harness.runner.executors.base import ExecutorSetup, Machine, read_seconds
from harness.runner.executors.job_pickle import explain_pickle_errors
from harness.runner.executors.pool import SILENT_SECONDS, SILENT_VARIABLE
from harness.runner.executors.ray_cluster import MemoryEstimates, connect, count_slots, describe_error, require_ray
from harness.runner.executors.ray_mailbox import Mailbox
from harness.runner.executors.ray_parcels import ParcelPickler, ParcelStore
from harness.runner.executors.ray_worker import Begun, WorkerSetup, probe_node, train_job
from harness.runner.executors.worker import Event, Finished, Refused
from harness.training.checkpoint import Checkpoints
from harness.training.pack_job import PackJob, PackOutcome

if TYPE_CHECKING:
    from harness.core.listener import Listener

MIN_WAITING = 32
"""Least number of tasks that are submitted at a time: those that wait are what an autoscaler sees."""
POLL_SECONDS = 1.0
END_SECONDS = 2.0
"""Time that the Mailbox has to end; its node may be lost."""
STOP_SECONDS = 25.0
"""Time that packs have to end their step and send a checkpoint after an interrupt."""
PROBE_SECONDS = 30.0
"""Time that the run waits for the other nodes after the first one is ready; a busy node is checked when it trains."""


@dataclasses.dataclass
class Task:
    """A submitted job and the reference to its result; `label` is empty until it begins."""

    job: PackJob
    reference: Any
    label: str = ""
    last_message: float = 0.0
    hangs: bool = False


@EXECUTORS.register("ray")
class RayExecutor:
    """Trains packs on the nodes of a Ray cluster; the nodes load torch while the run plans."""

    def __init__(self, setup: ExecutorSetup) -> None:
        self._ray = require_ray(setup)
        self._tasks: dict[str, Task] = {}
        self._ended_labels: dict[str, str] = {}
        self._submitted = 0
        self._machine: Machine | None = None
        self._probes: list[Any] = []
        self._silent_seconds = read_seconds(SILENT_VARIABLE, SILENT_SECONDS)
        # a Ray that the user's own program has joined stays joined
        self._owns = not self._ray.is_initialized()
        # ray.init replaces the handler of SIGTERM, whose signal must reach the run
        handler = signal.getsignal(signal.SIGTERM)
        try:
            is_started_here = connect(self._ray, setup)
            self._slots = count_slots(self._ray, setup)
            self._memory = MemoryEstimates(self._slots, cache=setup.cache is not None)
            self._parcels = ParcelStore(with_files=not is_started_here)
            self._start_mailbox()
            self._start_probes(setup)
        except BaseException as error:
            self.close()
            if isinstance(error, SystemExit):  # of Ray's handler: ours ends the run with the exit code of a signal
                signal.signal(signal.SIGTERM, handler)
                signal.raise_signal(signal.SIGTERM)
            raise
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
        self._train = self._ray.remote(max_retries=-1, max_calls=0)(train_job)

    @property
    def workers(self) -> int:
        return self._slots.count

    def describe(self) -> Machine:
        """The machine of the first node that answers. Raises UserError for one with other versions."""
        machines: list[Machine] = []
        pending, deadline = self._probes, 0.0
        while self._machine is None and pending and (not machines or time.monotonic() < deadline):
            ready, pending = self._ray.wait(pending, timeout=POLL_SECONDS)
            for reference in ready:
                answer = pickle.loads(self._get(reference))
                if isinstance(answer, Refused):
                    raise UserError(answer.message)
                deadline = deadline or time.monotonic() + PROBE_SECONDS
                machines.append(answer)
        for reference in pending:
            self._ray.cancel(reference)
        self._probes = []
        if self._machine is None:
            self._machine = Machine(machines[0].environment, min(machine.free_memory for machine in machines))
        return self._machine

    def run(self, jobs: deque[PackJob], checkpoints: Checkpoints, listener: Listener) -> Iterator[PackOutcome]:
        """See Executor."""
        # a signal waits until the next look at the tasks: ray.wait and the recorder are not interrupted
        with defer_interrupts(lambda: False) as raise_interrupt:
            try:
                while jobs or self._tasks:
                    raise_interrupt()
                    self._submit(jobs, checkpoints)
                    yield from self._receive(checkpoints, listener)
                self._mailbox.wake.remote()  # notes of the last pack
                self._pass_on(checkpoints, listener)
            except KeyboardInterrupt:
                yield from self._stop(checkpoints, listener)
            except GeneratorExit:  # the caller has reached a limit of the run, or met an error: no outcome is wanted
                deque(self._stop(checkpoints, listener), maxlen=0)
                raise

    def close(self) -> None:
        """End all tasks and, if this run has started a Ray, its processes."""
        if self._ray.is_initialized():
            with contextlib.suppress(Exception):  # there may be no Mailbox yet, or no cluster any more
                # Ray's library writes a line to stderr about a call that its end finds still running
                self._mailbox.end.remote()
                self._ray.wait([self._messages], timeout=END_SECONDS)
            if self._owns:
                self._ray.shutdown()  # of a cluster that was joined it ends the tasks of this run only
            else:
                for task in self._tasks.values():
                    self._ray.cancel(task.reference, force=True)
                with contextlib.suppress(AttributeError):
                    self._ray.kill(self._mailbox)
        self._tasks.clear()

    # ------------------------------------------------------------ start

    def _start_mailbox(self) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # beside the driver: a checkpoint that has arrived there is not lost with any other node
        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        # if its process is killed, Ray starts an empty one; checkpoints that it had passed on are on the driver's disk
        lasting = {"max_restarts": -1, "max_task_retries": -1}
        actor = self._ray.remote(num_cpus=0, max_concurrency=1000, scheduling_strategy=here, **lasting)(Mailbox)
        self._mailbox = actor.remote()
        self._messages = self._mailbox.take.remote()

    def _start_probes(self, setup: ExecutorSetup) -> None:
        """Start tasks that load torch and the plugins in one process per slot, and answer with their Machine."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # not what the files have now: keys of cells are of the sources that this process has loaded
        plugins = tuple((path.name, content) for path, content in get_plugin_contents(setup.plugins).items())
        names = ("LORASP_HARNESS_CHECKPOINT_SECONDS",)
        variables = {name: os.environ[name] for name in names if name in os.environ}
        own_setup = dataclasses.replace(
            setup, device=self._slots.device, devices=None, threads=self._slots.threads, plugins=()
        )
        environment = describe_environment("cpu", self._slots.threads)
        self._setup = self._ray.put(WorkerSetup(own_setup, plugins, variables, environment))
        probe = self._ray.remote(max_retries=3, max_calls=0)(probe_node)
        probes: list[Any] = []
        for node, count in self._slots.nodes.items():
            # soft: a node that leaves must not end the run
            place = NodeAffinitySchedulingStrategy(node, soft=True)
            options = {**self._slots.resources, "scheduling_strategy": place}
            probes += [probe.options(**options).remote((self._setup,)) for _ in range(count)]
        # no node has room yet: the autoscaler sees this one and starts a node
        self._probes = probes or [probe.options(**self._slots.resources).remote((self._setup,))]

    # ------------------------------------------------------------ tasks

    def _submit(self, jobs: deque[PackJob], checkpoints: Checkpoints) -> None:
        while jobs and len(self._tasks) < max(MIN_WAITING, 2 * self.workers):
            job = jobs.popleft()
            stream = io.BytesIO()
            pickler = ParcelPickler(stream, self._parcels)
            with explain_pickle_errors(job):
                pickler.dump((job, dict(checkpoints.made_by)))
            parcels = {digest: self._parcels.references[digest] for digest in pickler.used}
            self._submitted += 1
            name = str(self._submitted)
            task = self._train.options(
                **self._slots.resources, memory=self._memory.estimate(job), name=job.pack.first.cell.task
            )
            reference = task.remote(name, stream.getvalue(), parcels, (self._setup,), self._mailbox)
            self._tasks[name] = Task(job, reference)

    def _receive(self, checkpoints: Checkpoints, listener: Listener) -> Iterator[PackOutcome]:
        """Pass on messages of tasks and yield outcomes of those that have ended, within `POLL_SECONDS`."""
        references = {task.reference: name for name, task in self._tasks.items()}
        waiting = [self._messages, *references]
        ready, _ = self._ray.wait(waiting, timeout=POLL_SECONDS)
        if ready:
            ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        if self._messages in ready:
            self._pass_on(checkpoints, listener)
        for reference in ready:
            if reference in references:
                name = references[reference]
                outcome = self._build_outcome(self._tasks[name])
                self._ended_labels[name] = self._tasks.pop(name).label
                last = self._get(self._mailbox.forget.remote(name))
                # sent before the task ended, but the message with it may still be on its way
                if outcome.interrupted and last is not None:
                    checkpoints.store(*last)
                yield outcome
        for task in self._tasks.values():
            if task.label and time.monotonic() - task.last_message > self._silent_seconds and not task.hangs:
                task.hangs = True
                self._ray.cancel(task.reference, force=True)

    def _pass_on(self, checkpoints: Checkpoints, listener: Listener) -> None:
        """Take what has arrived in the Mailbox: events go to the listener, checkpoints to the run's folder."""
        messages, files = self._get(self._messages)
        self._messages = self._mailbox.take.remote()
        for name, content in messages:
            message, task = pickle.loads(content), self._tasks.get(name)
            if task is None:  # it has ended, but what it noted last is still to be said
                if isinstance(message, Event) and message.name == "note":
                    listener.note(str(message.arguments[0]), worker=self._ended_labels.get(name, ""))
                continue
            task.last_message = time.monotonic()
            if isinstance(message, Begun):
                task.label = message.label
            elif isinstance(message, Event):
                getattr(listener, message.name)(*message.arguments, worker=task.label)
        for name, (file, content) in files.items():
            if name in self._tasks:
                self._tasks[name].last_message = time.monotonic()
                checkpoints.store(file, content)

    def _build_outcome(self, task: Task) -> PackOutcome:
        """The outcome of a task that has ended. Raises UserError."""
        from ray.exceptions import RayError, TaskCancelledError

        began = get_utc_time()
        try:
            answer = pickle.loads(self._ray.get(task.reference))
        except RayError as error:
            if task.hangs:
                line = f"its worker sent nothing for {self._silent_seconds:.0f} s"
                return PackOutcome(task.job, began, failure=Failure(line, trace=line, memory=False), worker=task.label)
            if isinstance(error, TaskCancelledError):
                return PackOutcome(task.job, began, interrupted=True, worker=task.label)
            raise describe_error(error) from error
        if isinstance(answer, Refused):
            raise UserError(answer.message)
        job = dataclasses.replace(task.job, pack=task.job.own_pack, start=None) if answer.restarted else task.job
        fields = {field.name: getattr(answer, field.name) for field in dataclasses.fields(Finished)}
        return PackOutcome(job, **fields, environment=answer.environment, worker=answer.label or task.label)

    def _get(self, reference: Any) -> Any:
        """The value of a reference. Raises UserError for an error of Ray."""
        from ray.exceptions import RayError

        try:
            return self._ray.get(reference)
        except RayError as error:
            raise describe_error(error) from error

    def _stop(self, checkpoints: Checkpoints, listener: Listener) -> Iterator[PackOutcome]:
        """After an interrupt: packs end their step and send a checkpoint; outcomes of those that have begun."""
        for task in self._tasks.values():
            self._ray.cancel(task.reference)
        deadline = time.monotonic() + STOP_SECONDS
        while self._tasks and time.monotonic() < deadline:
            for outcome in self._receive(checkpoints, listener):
                if outcome.worker:  # the others were still waiting for a node
                    yield outcome
        for task in self._tasks.values():
            if task.label:
                yield PackOutcome(task.job, get_utc_time(), interrupted=True, worker=task.label)
        self.close()
