"""Workers of the pool in simulated time: packs take given seconds, and workers die at random in some of them."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.core.device import WorkerDevice
from harness.runner.executors.base import Machine
from harness.runner.executors.worker import Finished, Message

START_SECONDS = 2.0
"""From a worker's start to its readiness: it is forked from a process that has imported torch."""
CHECKPOINT_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class SimulatedPack:
    """A pack with cells of given weights; a pack also costs `fixed` that its cells share."""

    members: tuple[tuple[int, float], ...]
    """(number of the cell, weight)."""
    fixed: float = 5.0

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(str(number) for number, _ in self.members)

    @property
    def first(self) -> Any:
        return SimpleNamespace(cell=SimpleNamespace(task="simulated"))

    @property
    def weight(self) -> float:
        return self.fixed + sum(weight for _, weight in self.members)

    def split(self) -> list[SimulatedPack]:
        middle = (len(self.members) + 1) // 2
        return [SimulatedPack(part) for part in (self.members[:middle], self.members[middle:])]


@dataclasses.dataclass(frozen=True)
class SimulatedJob:
    """What the pool reads of a PackJob; `start.step` is the seconds of training that a checkpoint has saved."""

    pack: SimulatedPack
    start: Any = None

    @property
    def own_pack(self) -> SimulatedPack:
        return self.pack

    @property
    def slots(self) -> list[int]:
        return list(range(len(self.pack.members)))


class SimulatedCheckpoints:
    """The last checkpoint of each pack, by the keys of its cells."""

    folder, made_by = Path("none"), {}  # type: ignore[var-annotated]

    def __init__(self) -> None:
        self.saved: dict[tuple[str, ...], float] = {}

    def read(self, pack: SimulatedPack, slots: object) -> Any:
        seconds = self.saved.get(pack.keys)
        return None if seconds is None else SimpleNamespace(step=seconds)


class SimulatedLink:
    def __init__(self, links: SimulatedLinks) -> None:
        self.links, self.is_alive = links, True

    def send(self, job: Any, place: object) -> None:
        self.links.train(self, job)

    def interrupt(self) -> None:
        raise NotImplementedError

    def end(self) -> str:
        self.is_alive = False
        return "signal SIGKILL"


class SimulatedLinks:
    """`seconds` gives the true time of a pack; a worker dies in a pack with probability `deaths`."""

    def __init__(self, seconds: Callable[[SimulatedPack], float], deaths: float, seed: int) -> None:
        self.seconds, self.deaths, self.draw = seconds, deaths, random.Random(seed)
        self.checkpoints = SimulatedCheckpoints()
        self.time, self.died, self.busy = 0.0, 0, 0.0
        self._events: list[tuple[float, int, SimulatedLink, Message | None]] = []
        self._numbers = itertools.count()

    def start(self, device: WorkerDevice) -> SimulatedLink:
        link = SimulatedLink(self)
        environment: Any = SimpleNamespace(model_dump=dict)
        self._add(START_SECONDS if self.time else 0.0, link, Machine(environment, 0))
        return link

    def train(self, link: SimulatedLink, job: SimulatedJob) -> None:
        done = 0.0 if job.start is None else job.start.step
        left = self.seconds(job.pack) - done
        if self.draw.random() < self.deaths:
            trained = self.draw.random() * left
            self.checkpoints.saved[job.pack.keys] = done + trained // CHECKPOINT_SECONDS * CHECKPOINT_SECONDS
            self.died += 1
            self._add(trained, link, None)
        else:
            self._add(left, link, Finished("", {}, None, None, False))

    def wait(self, seconds: float) -> None:
        """Go to the next event, also if it is further away: a poll that brings nothing changes nothing."""
        if self._events:
            self.time = max(self.time, self._events[0][0])

    def receive(self) -> Iterator[tuple[SimulatedLink, Message | None]]:
        while self._events and self._events[0][0] <= self.time:
            _, _, link, message = heapq.heappop(self._events)
            if link.is_alive:
                yield link, message

    def now(self) -> float:
        return self.time

    def close(self) -> None:
        return

    def _add(self, seconds: float, link: SimulatedLink, message: Message | None) -> None:
        heapq.heappush(self._events, (self.time + seconds, next(self._numbers), link, message))
