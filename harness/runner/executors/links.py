"""Worker processes as the pool sees them: starting one, sending it jobs, receiving its messages, ending it.

    pool ── send(job) ──> outbox ── thread ──> socket ──> worker
    pool <── receive ──── inbox  <── thread ── socket <── worker

Threads read and write, so that a worker that is stopped in the middle of a message never blocks the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing import Pipe
from typing import Protocol

from harness.core.device import WorkerDevice
from harness.core.fork_server import ForkServer
from harness.core.registry import OWN_PACKAGES, get_plugin_digests, list_modules
from harness.runner.executors.base import ExecutorSetup
from harness.runner.executors.in_process import MODULES
from harness.runner.executors.worker import Message, Place, dump_job, receive
from harness.training.pack_job import PackJob

END_SECONDS = 5.0
"""Time that a worker whose connection has ended gets to end by itself, so that its exit code is known."""


class Link(Protocol):
    """The run's end of a worker process."""

    def send(self, job: PackJob, place: Place) -> None:
        """Give it a job; does not wait. Raises UserError for a job that cannot be sent."""

    def interrupt(self) -> None:
        """Let it end its step and write a checkpoint."""

    def end(self) -> str:
        """End it if it has not ended yet; returns why it ended."""


class Links(Protocol):
    """Starts workers and receives what they send. The scheduler's tests have one with simulated time."""

    def start(self, device: WorkerDevice) -> Link:
        """A new worker process; does not wait for it."""

    def wait(self, seconds: float) -> None:
        """Wait until a message has come, at most so many seconds. A signal may end it: no message is lost by that."""

    def receive(self) -> Iterator[tuple[Link, Message | None]]:
        """The messages that have come; None: the worker has ended, or closed its connection."""

    def now(self) -> float:
        """Seconds of a clock that is never set back."""

    def close(self) -> None:
        """End all workers now."""


class Inbox:
    """What the readers of all workers have received, and an event that says that there is something."""

    def __init__(self) -> None:
        self.messages: deque[tuple[ProcessLink, Message | Exception | None]] = deque()
        self.arrived = threading.Event()

    def put(self, link: ProcessLink, message: Message | Exception | None) -> None:
        self.messages.append((link, message))
        self.arrived.set()


def list_server_modules() -> list[str]:
    """What the fork server imports for all workers: libraries, and the methods and suites of this project."""
    own_modules = [module for package in OWN_PACKAGES for module in list_modules(package)]
    return [*MODULES, *own_modules]


class ProcessLinks:
    """Links to child processes of a fork server, which imports torch once for all of them."""

    def __init__(self, setup: ExecutorSetup) -> None:
        self.setup = setup
        self._server = ForkServer(list_server_modules())
        self._inbox = Inbox()

    def start(self, device: WorkerDevice) -> ProcessLink:
        """See Links."""
        if not self._server.is_alive():
            self._server.close()
            self._server = ForkServer(list_server_modules())
        setup = dataclasses.replace(self.setup, device=device.kind, devices=None, threads=device.threads)
        return ProcessLink(device, setup, self._server, self._inbox)

    def wait(self, seconds: float) -> None:
        """See Links."""
        self._inbox.arrived.wait(seconds)

    def receive(self) -> Iterator[tuple[ProcessLink, Message | None]]:
        """See Links. Raises what reading a message raised."""
        self._inbox.arrived.clear()
        while self._inbox.messages:
            link, message = self._inbox.messages.popleft()
            if isinstance(message, Exception):
                raise message
            yield link, message

    def now(self) -> float:
        """See Links."""
        return time.monotonic()

    def close(self) -> None:
        """See Links."""
        self._server.close()


class ProcessLink:
    """The link to one process; `sent` are the objects that it has received (see JobPickler)."""

    def __init__(
        self,
        device: WorkerDevice,
        setup: ExecutorSetup,
        server: ForkServer,
        inbox: Inbox,
    ) -> None:
        self.sent: dict[int, tuple[int, object]] = {}
        self._inbox, self._outbox = inbox, queue.SimpleQueue[bytes]()
        self._connection, theirs = Pipe()
        self.child = server.fork("harness.runner.executors.worker:main", theirs.fileno(), device.environment)
        # the worker holds the only other end: its death is the end of the stream
        theirs.close()
        self._outbox.put(pickle.dumps((device.label, setup, get_plugin_digests(setup.plugins))))
        for loop in (self._read, self._write):
            threading.Thread(target=loop, daemon=True).start()

    def send(self, job: PackJob, place: Place) -> None:
        """See Link."""
        self._outbox.put(dump_job(job, place, self.sent))

    def interrupt(self) -> None:
        """See Link."""
        self.child.send_signal(signal.SIGTERM)

    def end(self) -> str:
        """See Link."""
        code = self.child.wait(END_SECONDS)
        if code is None:
            self.child.kill()
            self.child.wait(END_SECONDS)
            return "it hung"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _read(self) -> None:
        try:
            while True:
                self._inbox.put(self, receive(self._connection))
        except (EOFError, OSError):
            self._inbox.put(self, None)
        except Exception as error:
            self._inbox.put(self, error)
        self._outbox.put(b"")  # ends the writer

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # the reader finds the end of the worker
            while content := self._outbox.get():
                self._connection.send_bytes(content)
