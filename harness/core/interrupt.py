"""Interrupts by a signal: at the end of the current step while a pack trains, immediately elsewhere.

first signal   -> SignalHandler raises KeyboardInterrupt; inside `defer_interrupts` it waits for the step's end
second signal  -> KeyboardInterrupt immediately
while a module is imported or an object ends itself (`__del__`), the first signal waits for the end of that
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

SIGNAL_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGALRM")
"""Ctrl-C; `kill` or the time limit of a batch system; a closed terminal; the warning of a batch system; TimeLimit."""


RETRY_SECONDS = 0.05
"""Between two looks at whether the import or `__del__` has ended."""
MAX_SECONDS = 1e9
"""Of a timer of the system: 31 years."""


class SignalHandler:
    """A signal handler that raises KeyboardInterrupt. `number` is the first signal received, None before that.

    While a module is imported, the first signal waits: an exception inside the initialization of a C++ library, such
    as torch's, aborts the process. It also waits inside `__del__`, whose exceptions Python prints and forgets. A second
    signal does not wait.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._is_retry = False
        self._timer: threading.Timer | None = None

    def __call__(self, number: int, frame: Any) -> None:
        is_first, self._is_retry = self.number is None or self._is_retry, False
        if self.number is None:
            self.number = number
        if is_first and _must_wait(frame):
            self._send_again(number)
            return
        self.cancel_retry()
        raise KeyboardInterrupt

    def catch_swallowed(self, unraisable: Any) -> bool:
        """Send the signal again if its exception met code that cannot pass it on, such as a weak reference's callback.

        To be asked by sys.unraisablehook; returns whether it was this exception.
        """
        if self.number is None or not isinstance(unraisable.exc_value, KeyboardInterrupt):
            return False
        self._send_again(self.number)
        return True

    def _send_again(self, number: int) -> None:
        self._timer = threading.Timer(RETRY_SECONDS, self._retry, [number])
        self._timer.daemon = True
        self._timer.start()

    def cancel_retry(self) -> None:
        """Send no signal again: it would meet the default handler, which ends the process."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _retry(self, number: int) -> None:
        self._is_retry = True
        os.kill(os.getpid(), number)

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, the exit code that a shell reports."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def name(self) -> str:
        """Name of the signal, such as 'SIGTERM'."""
        return signal.Signals(self.number or signal.SIGINT).name


class TimeLimit(SignalHandler):
    """Raises KeyboardInterrupt in the blocks that `interruptible` marks once a time is over, as Ctrl-C would.

    Other code is not interrupted: the next such block is. Outside of the main thread, which alone gets signals, and
    where the system has no SIGALRM, nothing is interrupted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_over = False
        self._is_watching = self._may_raise = False

    def __call__(self, number: int, frame: Any) -> None:
        self.is_over = True
        if self._may_raise:
            super().__call__(number, frame)

    @contextlib.contextmanager
    def watch(self, seconds: float | None) -> Iterator[None]:
        """A context that ends after so many seconds; None: when `end` is called."""
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or not hasattr(signal, "SIGALRM"):
            yield
            return
        previous = signal.signal(signal.SIGALRM, self)
        self._is_watching = True
        try:
            if seconds is not None:
                signal.setitimer(signal.ITIMER_REAL, min(max(seconds, RETRY_SECONDS), MAX_SECONDS))
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._is_watching = False
            self.cancel_retry()
            signal.signal(signal.SIGALRM, previous)

    def end(self) -> None:
        """The time is over now."""
        self.is_over = True
        if self._is_watching:
            signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A context in which the end of the time raises KeyboardInterrupt, also if it came before."""
        self._may_raise = True
        try:
            if self.is_over and self.number is None:
                self.end()
            yield
        finally:
            self._may_raise = False


def _must_wait(frame: Any) -> bool:
    """Whether a frame, or one that called it, is of Python's import machinery or a `__del__`."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib") or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _list_signals() -> list[int]:
    """The numbers of the handled signals that exist on this platform."""
    return [getattr(signal, name) for name in SIGNAL_NAMES if hasattr(signal, name)]


def _find_handler() -> SignalHandler | None:
    """The installed SignalHandler, if there is one; a TimeLimit is not looked for."""
    handlers = [signal.getsignal(number) for number in _list_signals()]
    return next((h for h in handlers if isinstance(h, SignalHandler) and not isinstance(h, TimeLimit)), None)


def is_signalled() -> bool:
    """Whether a signal from outside has arrived."""
    catcher = _find_handler()
    return catcher is not None and catcher.number is not None


def is_interrupted() -> bool:
    """Whether a signal has arrived or the time is over. An error after it may be its consequence."""
    limit = signal.getsignal(signal.SIGALRM) if hasattr(signal, "SIGALRM") else None
    # while signals are deferred, the handler that is installed is not the limit itself
    return is_signalled() or (isinstance(limit, TimeLimit) and limit.number is not None)


def describe_interrupt() -> str:
    """The reason of a cancelled cell, for its record."""
    catcher = _find_handler()
    by_hand = catcher is None or catcher.number in (None, signal.SIGINT)
    return "interrupted by the user" if by_hand or catcher is None else f"interrupted by {catcher.name}"


@contextlib.contextmanager
def catch_signals() -> Iterator[SignalHandler]:
    """A context in which each signal of `SIGNAL_NAMES` raises KeyboardInterrupt.

    An ignored signal (nohup, a background job) stays ignored.
    """
    outer = _find_handler()
    # Python lets only the main thread set handlers; a nested call uses the outer handler
    if outer is not None or threading.current_thread() is not threading.main_thread():
        yield outer or SignalHandler()
        return
    catcher = SignalHandler()
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    previous_handlers = {n: handler for n in _list_signals() if (handler := signal.getsignal(n)) in defaults}
    for number in previous_handlers:
        signal.signal(number, catcher)
    report = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None if catcher.catch_swallowed(unraisable) else report(unraisable)
    try:
        yield catcher
    finally:
        sys.unraisablehook = report
        catcher.cancel_retry()
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def defer_interrupts(safe: Callable[[], bool]) -> Iterator[Callable[[], None]]:
    """A context in which a signal raises KeyboardInterrupt at the next call of the yielded `check`.

    If `safe()` is true, or at a second signal, it is raised immediately. A signal that still waits when the block ends,
    for example because of an error, is raised there. This applies to signals whose handler raises KeyboardInterrupt:
    `SignalHandler` or Python's own.
    """
    waiting: list[int] = []
    previous_handlers: dict[int, Any] = {}

    def deliver(number: int, frame: Any = None) -> None:
        waiting.clear()
        previous_handlers[number](number, frame)

    def handle(number: int, frame: Any) -> None:
        if waiting or safe():
            deliver(waiting[0] if waiting else number, frame)
        waiting.append(number)

    def check() -> None:
        if waiting:
            deliver(waiting[0])
        elif catcher is not None and catcher.number is not None:
            # the first one may have been raised in a callback whose errors Python drops, such as __del__
            raise KeyboardInterrupt

    catcher = _find_handler()
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in _list_signals()}
        previous_handlers = {
            n: h for n, h in handlers.items() if h is signal.default_int_handler or isinstance(h, SignalHandler)
        }
    for number in previous_handlers:
        signal.signal(number, handle)
    try:
        yield check
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
        if waiting:
            deliver(waiting[0])
