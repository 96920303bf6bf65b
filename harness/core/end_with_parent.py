"""Importing this module makes the kernel kill this process when its parent thread ends (Linux only).

The fork server (fork_server.py) imports it first. It loads libraries for several seconds, and would not
notice in that time that its parent was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel to kill this process with its parent. A forked child must call it again: it is not inherited."""
    if sys.platform == "linux":
        # without it the process still ends, but only when it finds its pipes closed
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


end_with_parent()
