"""Ctrl-C where a step ends, so that what is saved then is whole."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def deferred(safe: Callable[[], bool]) -> Iterator[Callable[[], None]]:
    """KeyboardInterrupt at once where `safe()`, else at the next call of what this gives; a second Ctrl-C at once.

    Only where Python's own handler is in place.
    """
    waiting = False

    def handle(number: int, frame: Any) -> None:
        nonlocal waiting
        if waiting or safe():
            raise KeyboardInterrupt
        waiting = True

    def check() -> None:
        if waiting:
            raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield check
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
