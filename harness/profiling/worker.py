"""Work in a fresh process that never outlives the one that asked for it."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
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
    """The process ended without an answer: by the kernel for want of memory, or by hand."""


def call_alone(preload: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns in a process that starts with the module `preload` imported, and nothing else of this one.

    Raises what it raises, and Killed. The process is gone when this returns or raises, by KeyboardInterrupt too.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.core.end_with_parent", preload])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_answer, args=(sender, work, args, kwargs), daemon=True)
    try:
        with set_child_environment():  # the server that forks reads the variables when it starts
            process.start()
        sender.close()
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


def _send_answer(given: Connection, work: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """Signals to the whole process group (Ctrl-C in a terminal) are for the process that waits."""
    for name in SIGNAL_NAMES:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    from harness.core.end_with_parent import end_with_parent  # not above: it would set this of the process that waits

    end_with_parent()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    try:
        answer = True, work(*args, **kwargs)
    except Exception as error:
        answer = False, error
    given.send(answer)


def _follow(sentinel: Any) -> None:
    """End with the process that waits, even where that is killed."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def follow_stdin() -> None:
    """End with the process that holds the other end of stdin; for one started with `stdin=PIPE`."""

    def wait() -> None:
        # not sys.stdin.read(): its lock, held by this thread, would abort the interpreter when it ends
        while os.read(sys.stdin.fileno(), 1 << 16):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
