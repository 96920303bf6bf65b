"""Call a function in a fresh process that never outlives the calling one."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from harness.core.interrupt import SIGNAL_NAMES
from harness.core.process import set_child_environment

P = ParamSpec("P")
T = TypeVar("T")


class WorkerKilled(Exception):
    """The process ended without an answer: killed by the kernel out of memory, or by a user."""


def call_alone(preload: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work` in a process that starts with only the module `preload` imported.

    Raises what `work` raises, and WorkerKilled. The process has ended when this returns or raises, also by
    KeyboardInterrupt.
    """
    # fork would inherit this process's memory, which the peak would include; spawn would import torch for each call
    start_server(preload)
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_answer, args=(sender, work, args, kwargs), daemon=True)
    try:
        process.start()
        sender.close()  # the child holds the only writing end: its death is the end of the file
        try:
            ok, answer = receiver.recv()
        except EOFError:
            raise WorkerKilled from None
        process.join()
    finally:
        if process.pid is not None:
            process.kill()
            process.join()
        receiver.close()
    if not ok:
        raise answer
    return answer  # type: ignore[no-any-return]


def start_server(preload: str) -> None:
    """Start the fork server, if it does not run, and let it import `preload`; does not wait for that."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["harness.core.end_with_parent", preload])
    with set_child_environment():  # the fork server reads the variables when it starts
        multiprocessing.forkserver.ensure_running()


def _send_answer(sender: Connection, work: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """Call `work` in the child and send its result or exception."""
    # signals to the whole process group (Ctrl-C in a terminal) are for the parent, which ends this process
    for name in SIGNAL_NAMES:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    from harness.core.end_with_parent import end_with_parent  # not at the top: the import acts on its process

    end_with_parent()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    try:
        answer = True, work(*args, **kwargs)
    except Exception as error:
        answer = False, error
    sender.send(answer)


def _follow(sentinel: Any) -> None:
    """End this process when the parent has ended, also if it was killed."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def follow_stdin() -> None:
    """End this process, started with `stdin=PIPE`, when the process at the other end of stdin has ended."""

    def wait() -> None:
        # not sys.stdin.read(): this thread would hold its lock at exit, which aborts the interpreter
        while os.read(sys.stdin.fileno(), 1 << 16):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
