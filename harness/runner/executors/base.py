"""The protocol of an executor, which trains packs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from harness.training.pack_job import PackJob, PackOutcome


class Executor(Protocol):
    """Trains packs, in this process or elsewhere, one or several at a time.

    `@EXECUTORS.register(NAME)` makes its class available as `--executor NAME`. The class is called with the device
    ('cpu' or 'cuda'), the folder of tokenized rows (None: no cache), the run's checkpoints and its listener.
    """

    def run(self, jobs: deque[PackJob]) -> Iterator[PackOutcome]:
        """Take jobs from the left until none waits or runs; yield one outcome per job, in any order.

        The caller may add jobs between two outcomes. A failed pack gives an outcome with its failure. A UserError is
        raised, since every further cell would meet it too. After an interrupt the outcome says so and is the last.
        """
        ...
