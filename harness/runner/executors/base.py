"""What an executor must be."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from harness.training.pack_job import PackJob, PackOutcome


class Executor(Protocol):
    """Trains packs, here or elsewhere, one or several at a time."""

    def run(self, jobs: deque[PackJob]) -> Iterator[PackOutcome]:
        """Take jobs from the left until none is left or running; yield what becomes of each, in any order.

        The caller may add jobs while it holds an outcome. A failed pack is an outcome with its failure; a UserError is
        raised, since it is no fault of a cell. After an interrupt the outcome says so and is the last.
        """
        ...
