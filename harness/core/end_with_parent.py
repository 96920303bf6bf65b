"""Importing this makes the kernel kill the process when the thread that started it ends; Linux only.

The fork server (harness/profiling/worker.py) imports it first: until it has loaded its libraries, which takes
seconds, it does not notice that the process it serves was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Also to be called after a fork: a child does not inherit the setting."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # the process still ends, later, when its pipes are closed
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


end_with_parent()
