"""Stop a command by a signal: at the end of the step while a pack trains, at once elsewhere."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

SIGNAL_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""Ctrl-C, `kill` and a batch system's time limit, a closed terminal, and a batch system's warning."""


class SignalHandler:
    """A signal handler that raises KeyboardInterrupt. `number` is the first signal that it got."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self, number: int, frame: Any) -> None:
        if self.number is None:
            self.number = number
        raise KeyboardInterrupt

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as a shell reports it."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def name(self) -> str:
        return signal.Signals(self.number or signal.SIGINT).name


def _list_signals() -> list[int]:
    """Those that this platform has."""
    return [getattr(signal, name) for name in SIGNAL_NAMES if hasattr(signal, name)]


def _find_handler() -> SignalHandler | None:
    handlers = [signal.getsignal(number) for number in _list_signals()]
    return next((h for h in handlers if isinstance(h, SignalHandler)), None)


def is_interrupted() -> bool:
    """Whether a signal has arrived: an error that comes after it may be its consequence."""
    catcher = _find_handler()
    return catcher is not None and catcher.number is not None


def describe_interrupt() -> str:
    """Why a cell was cancelled, for its record."""
    catcher = _find_handler()
    by_hand = catcher is None or catcher.number in (None, signal.SIGINT)
    return "interrupted by the user" if by_hand or catcher is None else f"interrupted by {catcher.name}"


@contextlib.contextmanager
def catch_signals() -> Iterator[SignalHandler]:
    """Let each signal of NAMES raise KeyboardInterrupt. One that is ignored (nohup, a background job) stays ignored."""
    outer = _find_handler()
    if outer is not None or threading.current_thread() is not threading.main_thread():
        yield outer or SignalHandler()
        return
    catcher = SignalHandler()
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    previous_handlers = {n: handler for n in _list_signals() if (handler := signal.getsignal(n)) in defaults}
    for number in previous_handlers:
        signal.signal(number, catcher)
    try:
        yield catcher
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def defer_interrupts(safe: Callable[[], bool]) -> Iterator[Callable[[], None]]:
    """KeyboardInterrupt at once where `safe()`, else at the next call of what this gives; at a second signal at once.

    Only for signals whose handler raises KeyboardInterrupt: `Catcher` or Python's own. A signal that waits when the
    block ends, by an error say, is raised there.
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
            raise KeyboardInterrupt  # a callback whose errors Python drops (__del__) may have taken the first one

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
