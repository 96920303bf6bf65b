"""Call a function in a fresh process that never outlives the calling one."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from harness.core.fork_server import ForkServer
from harness.core.interrupt import SIGNAL_NAMES
from harness.core.process import follow_parent

P = ParamSpec("P")
T = TypeVar("T")
_servers: dict[str, ForkServer] = {}
"""By the module that they have imported."""


class WorkerKilled(Exception):
    """The process ended without an answer: killed by the kernel out of memory, or by a user."""


def call_alone(preload: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work` in a process that starts with only the module `preload` imported.

    Raises what `work` raises, and WorkerKilled. The process has ended when this returns or raises, also by
    KeyboardInterrupt.
    """
    # fork would inherit this process's memory, which the peak would include; spawn would import torch for each call
    server = start_server(preload)
    connection, theirs = Pipe()
    child = server.fork(f"{__name__}:answer", theirs.fileno(), {})
    theirs.close()  # the child holds the only other end: its death is the end of the stream
    try:
        connection.send_bytes(pickle.dumps((work, args, kwargs)))
        ok, result = connection.recv()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise WorkerKilled from None
    finally:
        connection.close()
        if child.wait(0) is None and not child.kill_now():
            server.close()  # it still imports, so there is no child yet
    if not ok:
        raise result
    return result  # type: ignore[no-any-return]


def start_server(preload: str) -> ForkServer:
    """The fork server that has imported `preload`, or imports it now: it does not wait for that."""
    server = _servers.get(preload)
    if server is None or not server.is_alive():
        server = _servers[preload] = ForkServer([preload])
    return server


def answer(descriptor: int) -> None:
    """In the child: call the function that comes over the connection and send its result or exception."""
    # signals to the whole process group (Ctrl-C in a terminal) are for the parent, which ends this process
    for name in SIGNAL_NAMES:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    follow_parent()
    connection = Connection(descriptor)
    work, args, kwargs = pickle.loads(connection.recv_bytes())
    try:
        result = True, work(*args, **kwargs)
    except Exception as error:
        result = False, error
    connection.send(result)


def follow_stdin() -> None:
    """End this process, started with `stdin=PIPE`, when the process at the other end of stdin has ended."""

    def wait() -> None:
        # not sys.stdin.read(): this thread would hold its lock at exit, which aborts the interpreter
        while os.read(sys.stdin.fileno(), 1 << 16):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
