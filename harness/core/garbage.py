"""A pause of Python's cyclic garbage collector, for code that creates millions of objects that all stay alive."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def pause_collection() -> Iterator[None]:
    """A context, or decorator, without garbage collection."""
    # each collection would visit all records again: a third of the time of reading a large store
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def import_uncollected(names: Sequence[str]) -> None:
    """Import modules; the collector never looks at what this creates, which stays as long as the process."""
    if all(name in sys.modules for name in names):
        return
    # a fifth of the time of an import is looking for garbage, and each later collection would visit all of it again
    with pause_collection():
        for name in names:
            importlib.import_module(name)
    gc.freeze()
