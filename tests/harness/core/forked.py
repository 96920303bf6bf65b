"""What children of a fork server do in its tests; a module of its own, because a child imports it."""

from __future__ import annotations

import os
import sys
from multiprocessing.connection import Connection


def answer(descriptor: int) -> None:
    """In a child: what it sees."""
    connection = Connection(descriptor)
    connection.send((os.getpid(), os.environ.get("ONLY_HERE"), "json" in sys.modules))
    connection.recv()


def end_with_seven(descriptor: int) -> None:
    sys.exit(7)
