"""The protocol of an executor, which trains packs, and what it is made from."""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.core.errors import UserError
from harness.training.pack_job import PackJob, PackOutcome

if TYPE_CHECKING:
    from harness.core.listener import Listener
    from harness.core.record import Environment
    from harness.training.checkpoint import Checkpoints


@dataclasses.dataclass(frozen=True)
class ExecutorSetup:
    """What a run asks of its executor: the values of --device, --devices, --threads, --plugin and --address.

    `cache` is the folder of tokenized rows; None: no cache. `slurm` is the value of --slurm, `out` the run's folder.
    """

    device: str
    devices: str | None = None
    threads: int | None = None
    plugins: tuple[Path, ...] = ()
    cache: Path | None = None
    address: str | None = None
    slurm: str | None = None
    out: Path | None = None


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where an executor trains: the environment that records name, and free bytes of the device with the least."""

    environment: Environment
    free_memory: int


def read_seconds(variable: str, default: float) -> float:
    """The number of seconds in an environment variable, `default` without one. Raises UserError."""
    text = os.environ.get(variable) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:  # so that nan is refused too: no time is longer
        raise UserError(f"{variable}={text}: allowed: a number of seconds above 0")
    return seconds


class Executor(Protocol):
    """Trains packs, in this process or elsewhere, one or several at a time.

    `@EXECUTORS.register(NAME)` makes a class, or a function that returns an executor, available as `--executor NAME`.
    It is called with an ExecutorSetup when the run starts, before cells are planned.
    """

    @property
    def workers(self) -> int:
        """How many packs train at a time."""
        ...

    def describe(self) -> Machine:
        """The machine. Raises UserError if there is none to train on."""
        ...

    def run(self, jobs: deque[PackJob], checkpoints: Checkpoints, listener: Listener) -> Iterator[PackOutcome]:
        """Take jobs from the left until none waits or runs; yield one outcome per job, in any order.

        The caller may add jobs between two outcomes. A failed pack gives an outcome with its failure. A UserError is
        raised, since every further cell would meet it too. After an interrupt the outcomes of the packs that were
        training say so and are the last.
        """
        ...

    def close(self) -> None:
        """End all processes and free all devices."""
        ...
