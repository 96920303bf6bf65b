"""A process that has imported libraries and forks children, which then start at once and share its memory.

    run                                 fork server                      child
     │  Popen ───────────────────────────▶  imports the modules
     │  Request, a file descriptor ──────▶  fork ─────────────────────────▶  function(descriptor)
     │  ◀───────────────────────── Forked
     │  ◀───────────────────────── Exited  <────────────────────────────────  ends, or is killed

A child is killed with the server (end_with_parent.py) and the server ends with the run, so no process is left behind.
The server itself only imports: a library that starts threads or opens a GPU must not be among its modules.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, NoReturn

from harness.core.process import build_child_environment, wait_passively

ANSWER_SECONDS = 60.0
"""A server that does not fork within this time after its imports counts as hanging when a child is to be signalled."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A child to fork: what to call, as 'module:function', and the environment variables to set before."""

    number: int
    function: str
    environment: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Forked:
    number: int
    pid: int


@dataclasses.dataclass(frozen=True)
class Exited:
    """A child has ended with this exit code; -N: by signal N."""

    pid: int
    code: int


class Child:
    """A process of a fork server, which may not have forked it yet."""

    def __init__(self, server: ForkServer, number: int) -> None:
        self.server, self.number = server, number

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the child has ended."""
        pid = self.server.find_pid(self.number)
        # its number cannot belong to another process before the server has told of its end
        if pid is not None and self.server.find_exit_code(self.number, 0) is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def kill_now(self) -> bool:
        """Kill it and wait for its end, unless it is not forked yet; returns whether it was."""
        if not self.server.has_forked(self.number):
            return False
        self.kill()
        self.wait(ANSWER_SECONDS)
        return True

    def wait(self, seconds: float) -> int | None:
        """Its exit code, -N after signal N; None if it has not ended after so many seconds."""
        return self.server.find_exit_code(self.number, seconds)


SOURCE = f"import harness.core.end_with_parent; from {__name__} import serve; serve()"
"""What the server runs. The first import comes first: until then nothing ends the server with the run."""
GPU_CHECK = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""With it torch.cuda.is_available() leaves the GPU closed: what a process has opened, its children cannot open."""


class ForkServer:
    """Starts at once and imports `modules`; `fork` does not wait for that."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._connection, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SOURCE, str(theirs.fileno()), str(os.getpid()), *modules],
            env={**os.environ, **build_child_environment(), **GPU_CHECK},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what libraries print must not mix with the answer of --json
            process_group=0,  # Ctrl-C in a terminal is for the run, which tells the children
        )
        theirs.close()
        self._requests = 0
        self._pids: dict[int, int] = {}
        self._codes: dict[int, int] = {}
        self._has_ended = False

    def fork(self, function: str, descriptor: int, environment: Mapping[str, str]) -> Child:
        """A child that calls `function` ('module:function') with its copy of an open file descriptor."""
        self._requests += 1
        try:
            self._connection.send(Request(self._requests, function, environment))
            send_handle(self._connection, descriptor, self.process.pid)
        except OSError:
            self._has_ended = True
        return Child(self, self._requests)

    def is_alive(self) -> bool:
        return not self._has_ended and self.process.poll() is None

    def has_forked(self, number: int) -> bool:
        """Whether the server has told of a child's start."""
        while self._read_reply(0):
            pass
        return number in self._pids

    def find_pid(self, number: int) -> int | None:
        """The process id of a child, as soon as it is forked; None if the server has ended.

        A server that does not answer is ended, with its children.
        """
        deadline = time.monotonic() + ANSWER_SECONDS
        while number not in self._pids and not self._has_ended:
            self._read_reply(1.0)
            if time.monotonic() > deadline:
                self.close()
        return self._pids.get(number)

    def find_exit_code(self, number: int, seconds: float) -> int | None:
        """The exit code of a child that ends within so many seconds; None if it does not."""
        deadline = time.monotonic() + seconds
        while True:
            # replies that have come are read also after the deadline
            while self._read_reply(0):
                pass
            if (pid := self._pids.get(number)) in self._codes:
                return self._codes[pid]
            if self._has_ended:  # the kernel kills its children
                return self._read_exit_code()
            if (left := deadline - time.monotonic()) <= 0:
                return None
            self._read_reply(min(left, 1.0))

    def close(self) -> None:
        """Kill the server and all of its children."""
        self._has_ended = True
        self._connection.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _read_exit_code(self) -> int:
        """The exit code of the server, which has closed its connection."""
        try:
            return self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.close()
            return self.process.wait()

    def _read_reply(self, seconds: float) -> bool:
        """Read one reply that comes within so many seconds; returns whether one came."""
        if self._has_ended:
            return False
        try:
            if not self._connection.poll(seconds):
                return False
            reply = self._connection.recv()
        except (EOFError, OSError):
            self._has_ended = True
            return False
        if isinstance(reply, Forked):
            self._pids[reply.number] = reply.pid
        else:
            self._codes[reply.pid] = reply.code
        return True


# ---------------------------------------------------------------- in the server


def serve() -> NoReturn:
    """Entry point of the server; its arguments are the descriptor of its connection, the run's process and modules."""
    # the run decides; a signal to all processes of a job must not end the children before they have a checkpoint
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if os.getppid() != int(sys.argv[2]):  # the run ended before the kernel was asked to end this process with it
        os._exit(1)
    wait_passively()
    connection = Connection(int(sys.argv[1]))
    gc.disable()  # what is imported stays, so looking for garbage in it only takes time
    for name in sys.argv[3:]:
        importlib.import_module(name)
    gc.enable()
    # pages that the collector does not touch stay shared between the children
    gc.freeze()
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    while True:
        readable, _, _ = select.select([connection.fileno(), wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
        try:
            if connection.fileno() in readable:
                _fork_child(connection)
            _report_ends(connection)
        except (EOFError, OSError):
            os._exit(0)  # the run has ended; the kernel kills the children


def _fork_child(connection: Connection) -> None:
    request: Request = connection.recv()
    descriptor = recv_handle(connection)
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        _run_child(request, descriptor, connection, server)
    os.close(descriptor)
    connection.send(Forked(request.number, pid))


def _report_ends(connection: Connection) -> None:
    """Tell the run of each child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            connection.send(Exited(pid, os.waitstatus_to_exitcode(status)))


def _run_child(request: Request, descriptor: int, connection: Connection, server: int) -> NoReturn:
    """Call the function in the child, which never returns into the server's loop."""
    from harness.core.end_with_parent import end_with_parent

    code = 1
    try:
        end_with_parent()
        if os.getppid() != server:  # it ended before the kernel was asked
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for name in ("SIGCHLD", "SIGTERM"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        connection.close()
        for name in GPU_CHECK:
            os.environ.pop(name, None)
        os.environ.update(request.environment)
        module, function = request.function.split(":")
        call: Any = getattr(importlib.import_module(module), function)
        call(descriptor)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        # no clean-up of what the server has: its modules' exit handlers are not this child's
        os._exit(code)
