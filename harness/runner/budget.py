"""The budget of a run: most hours, cells and cost of one command. At its end the run stops as after Ctrl-C.

--max-cells  ──> fewer jobs are listed
--max-hours  ──> a time limit: at its end no further pack starts, and packs that train write a checkpoint
--max-cost   ──> with local devices a time limit too, as each costs its price all the time; with other executors the
                 hours of finished packs count

A budget is one command's: the same command again has it anew, and continues.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.interrupt import TimeLimit
from harness.core.progress import format_duration
from harness.core.text import count_noun

if TYPE_CHECKING:
    from harness.core.record import Record
    from harness.core.spec import Spec
    from harness.training.pack_job import PackJob, PackOutcome


class BudgetReached(UserError):
    """The budget ended before there was a result to report; the message says what remains."""


def count_failures(records: Iterable[Record], remaining: str) -> int:
    """Cells without a score; `remaining` is the line about cells that a budget left, '' without one."""
    # a cancelled cell of an earlier run that the budget has left out again is no failure
    return sum(r.status != "ok" and not (remaining and r.status == "cancelled") for r in records)


@dataclasses.dataclass
class Budget:
    """What a run may spend, and what it has spent. `workers` packs train at a time.

    `price` is that of a device for an hour; `is_local` says whether the devices are this machine's.
    """

    max_hours: float | None = None
    max_cells: int | None = None
    max_cost: float | None = None
    price: float | None = None
    is_local: bool = True
    workers: int = 1
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.started, self.limit = self.clock(), TimeLimit()
        self.reached = ""
        """The limit of time or cost that ended the run, as the user gave it."""
        self.cut = ""
        """The limit of cells, if it left cells out."""
        self._cells_left = self.max_cells or 0
        self._device_seconds = self._finished_seconds = self._finished_work = 0.0
        self._work: dict[str, float] = {}
        """Cell key -> its share of the work of its pack."""

    @classmethod
    def of(cls, spec: Spec) -> Budget:
        """The budget that the flags give. Raises UserError for a price without a cost that it limits."""
        if spec.price is not None and spec.max_cost is None:
            raise UserError(f"--price {spec.price:g}: `run` needs it for --max-cost only; add that, or leave it out")
        return cls(spec.max_hours, spec.max_cells, spec.max_cost, spec.price, spec.executor == "local")

    @property
    def is_spent(self) -> bool:
        """Whether cells may remain because of the budget."""
        return bool(self.reached or self.cut)

    # ------------------------------------------------------------ limits

    def find_time_limit(self) -> tuple[float, str] | None:
        """Seconds after the start at which the run stops, and the flag that says so; None without a limit of time."""
        limits = []
        if self.max_hours is not None:
            limits.append((3600 * self.max_hours, f"--max-hours {self.max_hours:g}"))
        if self.max_cost is not None and self.price is not None and self.is_local:
            limits.append((3600 * self.max_cost / self.price / self.workers, f"--max-cost {self.max_cost:g}"))
        return min(limits, default=None)

    def check(self) -> bool:
        """Whether the time or the cost is spent; `reached` says by which flag."""
        limit = self.find_time_limit()
        if limit is not None and (self.limit.is_over or self.clock() - self.started >= limit[0]):
            self.reached = self.reached or limit[1]
        elif self.max_cost is not None and not self.is_local and self._compute_cost() >= self.max_cost:
            self.reached = self.reached or f"--max-cost {self.max_cost:g}"
        return bool(self.reached)

    def stop_if_spent(self, jobs: deque[PackJob]) -> None:
        """Drop the jobs that wait, and interrupt those that train, if the time or the cost is spent."""
        if self.check():
            jobs.clear()
            self.limit.is_over = True

    def _compute_cost(self) -> float:
        """The cost of the packs that have ended."""
        return self._device_seconds / 3600 * (self.price or 0.0)

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """A context in which the limit of time or cost ends what `limit.interruptible` marks."""
        limit = self.find_time_limit()
        if limit is None and self.max_cost is None:
            yield
            return
        seconds = None if limit is None else max(0.0, limit[0] - (self.clock() - self.started))
        with self.limit.watch(seconds):
            yield

    def select_jobs(self, jobs: Sequence[PackJob], weigh: Callable[[PackJob], float]) -> list[PackJob]:
        """The jobs that --max-cells allows, the last of them with fewer cells; `weigh` gives the work of a job."""
        for job in jobs:
            share = weigh(job) / len(job.slots)
            self._work |= dict.fromkeys(job.own_pack.keys, share)
        if self.max_cells is None:
            return list(jobs)
        selected: list[PackJob] = []
        for job in jobs:
            size = len(job.slots)
            allowed = min(size, self._cells_left)
            if allowed < size:
                self.cut = f"--max-cells {self.max_cells}"
            if allowed == size:
                selected.append(job)
            elif allowed and job.start is None:  # a checkpoint belongs to a whole pack, which cannot be cut
                selected.append(dataclasses.replace(job, pack=job.pack.select(range(allowed))))
            else:
                continue
            self._cells_left -= allowed
        return selected

    # ------------------------------------------------------------ what was spent, and what remains

    def count(self, outcome: PackOutcome) -> None:
        """Add a pack that has ended."""
        begun = datetime.fromisoformat(outcome.started)
        seconds = max(0.0, (datetime.now(UTC) - begun).total_seconds())
        self._device_seconds += seconds
        if outcome.failure is None and not outcome.interrupted:
            self._finished_seconds += seconds
            self._finished_work += sum(self._work.get(key, 0.0) for key in outcome.job.own_pack.keys)

    def describe_remaining(self, keys: Collection[str]) -> str:
        """One line: how many cells remain, and what they will take at the pace of the packs that have finished."""
        line = f"{self.reached or self.cut}: reached; {count_noun(len(keys), 'cell')} to run"
        work = sum(self._work.get(key, 0.0) for key in keys)
        if work and self._finished_work:
            seconds = work * self._finished_seconds / self._finished_work
            line += f", about {format_duration(seconds / self.workers)} on {count_noun(self.workers, 'device')}"
            line += f", cost about {seconds / 3600 * self.price:.2f}" if self.price is not None else ""
        else:
            line += ", no time estimate: no pack has finished"
        return f"{line}; the same command continues"
