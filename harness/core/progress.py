"""How far a run is: work done, the time left, and what each worker does. It draws nothing (see listener.py).

    packs that are planned ──> work in all ─┐
    steps of the packs that train ──────────┼──> share done, time left
    cells that have a record ───────────────┘

Work is counted in units of step time: a step of a large pack counts more than one of a small pack (see weigh_step in
harness/planning/balance.py). The pace comes from the time between two steps, so the estimate moves during the first
pack, and the time that loading takes is added once per pack that has yet to start.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.core.text import count_noun

LEAST_SECONDS, LEAST_STEPS = 1.0, 5
"""Time and steps that must be seen before there is an estimate."""
LOADING, TRAINING, SCORING, IDLE = "loading", "training", "scoring", "no more packs"
SMOOTHING_SECONDS = 8.0
"""An estimate that changes is followed with this time constant, so that the text does not jump."""


@dataclass(frozen=True)
class Work:
    """Work in units of step time."""

    training: float = 0.0
    scoring: float = 0.0

    @property
    def total(self) -> float:
        return self.training + self.scoring

    def scale(self, factor: float) -> Work:
        return Work(self.training * factor, self.scoring * factor)


def add_works(works: Iterable[Work]) -> Work:
    """The sum of some works."""
    parts = list(works)
    return Work(math.fsum(one.training for one in parts), math.fsum(one.scoring for one in parts))


@dataclass(frozen=True)
class PlannedPack:
    """A pack that will train: the keys of its cells, its optimizer steps, the work of a step and of scoring it."""

    keys: tuple[str, ...]
    steps: int
    step_work: float
    scoring_work: float

    @property
    def work(self) -> Work:
        return Work(self.steps * self.step_work, self.scoring_work)


@dataclass
class WorkerProgress:
    """What one worker does. `phase` is LOADING, TRAINING, SCORING or IDLE."""

    phase: str = LOADING
    task: str = ""
    cells: int = 0
    steps: int = 0
    step: int = 0
    work: Work = Work()
    losses: Sequence[float] = ()
    since: float = 0.0
    """When the phase began, or the last step ended."""

    @property
    def done_work(self) -> float:
        """Work of the steps that are done."""
        return self.work.training * self.step / self.steps if self.steps else 0.0

    def describe(self) -> str:
        """'training cola, 8 cells, step 40/150', or what else it does."""
        if not self.task:
            return self.phase
        what = f"{self.phase} {self.task}, {count_noun(self.cells, 'cell')}"
        return f"{what}, step {self.step}/{self.steps}" if self.phase == TRAINING else what


@dataclass
class RunProgress:
    """Progress of a command with `total` cells; `clock` gives seconds.

    A display may read it from another thread, so what changes in size is copied before it is iterated.
    """

    total: int
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    profile: str = ""
    profiles: tuple[int, int] = (0, 0)
    """Number of the profile that is being taken, and how many there are."""
    workers: dict[str, WorkerProgress] = field(default_factory=dict)
    _cell_work: dict[str, Work] = field(default_factory=dict)
    _done_work: float = 0.0
    _todo_work: float = 0.0
    _packs_left: int = 0
    _loading: list[float] = field(default_factory=list)
    _pace: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Seconds, work and steps that the pace is computed from."""
    _profile_starts: list[float] = field(default_factory=list)
    _shown: tuple[float, float] | None = None
    """The smoothed estimate of the time left, and when it was computed."""

    def __post_init__(self) -> None:
        self.started = self.clock()

    # ------------------------------------------------------------ events

    def plan(self, packs: Sequence[PlannedPack]) -> None:
        """The packs that will train."""
        self._packs_left = len(packs)
        for pack in packs:
            self._cell_work |= dict.fromkeys(pack.keys, pack.work.scale(1 / len(pack.keys)))
        self._todo_work = add_works(self._cell_work.values()).total
        self.started = self.clock()

    def start_pack(self, task: str, cells: int, steps: int, keys: Sequence[str], worker: str) -> None:
        """A worker has read the rows of a pack and loads its backbone."""
        self._packs_left = max(0, self._packs_left - 1)
        before = self.workers.get(worker)
        known = [self._cell_work[key] for key in keys if key in self._cell_work]
        # a pack of a plugin's executor may not say which cells it has
        mean = add_works(self._cell_work.values()).scale(cells / max(1, len(self._cell_work)))
        work = add_works(known) if known else mean
        since = before.since if before is not None else self.started
        self.workers[worker] = WorkerProgress(LOADING, task, cells, steps, work=work, since=since)

    def finish_step(self, step: int, losses: Sequence[float], worker: str) -> None:
        """A worker has finished a step; the first one of a pack ends its loading."""
        one = self.workers.setdefault(worker, WorkerProgress(since=self.started))
        now = self.clock()
        if one.phase == LOADING:
            self._loading.append(now - one.since)
            one.phase = TRAINING
        elif step > one.step:
            self._measure(now - one.since, one.work.training * (step - one.step) / max(1, one.steps), step - one.step)
        one.step, one.losses, one.since = step, losses, now
        if step >= one.steps > 0:
            one.phase = SCORING

    def finish_cell(self, key: str, *, counts: bool) -> None:
        """A cell has a record; one that was cancelled does not count."""
        if counts:
            self.done += 1
            work = self._cell_work.pop(key, Work()).total
            self._done_work, self._todo_work = self._done_work + work, max(0.0, self._todo_work - work)

    def finish_pack(self, worker: str) -> None:
        """A worker is free again."""
        before = self.workers.get(worker)
        if before is not None and before.phase == SCORING:
            self._measure(self.clock() - before.since, before.work.scoring, 0)
        phase = LOADING if self._packs_left else IDLE
        self.workers[worker] = WorkerProgress(phase, since=self.clock())

    def start_profile(self, label: str, number: int, total: int) -> None:
        """The profile of a method starts, after all training."""
        self.workers = {}
        self._profile_starts.append(self.clock())
        self.profile, self.profiles, self._shown = label, (number, total), None

    def _measure(self, seconds: float, work: float, steps: int) -> None:
        for i, value in enumerate((seconds, work, steps)):
            self._pace[i] += value

    # ------------------------------------------------------------ figures

    @property
    def elapsed(self) -> float:
        """Seconds since training started."""
        return self.clock() - self.started

    @property
    def share(self) -> float:
        """The part of the training work that is done, 0 to 1; of the profiles while these are taken."""
        if self.profile:
            number, total = self.profiles
            return (number - 1) / max(1, total)
        work = self._done_work + self._todo_work
        if not work:
            return self.done / self.total if self.total else 0.0
        return min(1.0, (self._done_work + self._active_work()) / work)

    def _active_work(self) -> float:
        """Work of the packs that train, done so far."""
        return math.fsum(one.done_work for one in list(self.workers.values()))

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until training ends, or the profiles do; smoothed. None while too little is known."""
        estimate, now = self._estimate(), self.clock()
        if estimate is None:
            return None
        if self._shown is not None:
            before, at = self._shown
            counted_down = max(0.0, before - (now - at))
            estimate = counted_down + (estimate - counted_down) * (1 - math.exp(-(now - at) / SMOOTHING_SECONDS))
        self._shown = estimate, now
        return estimate

    def _estimate(self) -> float | None:
        if self.profile:
            return self._estimate_profiles()
        seconds, work, steps = self._pace
        if seconds < LEAST_SECONDS or steps < LEAST_STEPS or not work:
            return None
        pace = seconds / work
        busy = [one for one in list(self.workers.values()) if one.phase != IDLE]
        todo = max(0.0, self._todo_work - math.fsum(one.done_work for one in busy)) * pace
        # the first loading of a process also imports torch, which happens once
        typical = self._loading[1:] or self._loading
        todo += self._packs_left * (sum(typical) / len(typical) if typical else 0.0)
        # the last packs of several workers do not end at the same time
        longest = max((one.work.total - one.done_work for one in busy), default=0.0) * pace
        # the time since the last step is not in the work yet
        waited = min((self.clock() - one.since for one in busy if one.phase != LOADING), default=0.0)
        return max(0.0, todo / max(1, len(busy)) - waited, longest - waited)

    def _estimate_profiles(self) -> float | None:
        number, total = self.profiles
        taken = len(self._profile_starts) - 1
        if taken < 1:
            return None
        each = (self._profile_starts[-1] - self._profile_starts[0]) / taken
        return max(0.0, each * (total - number + 1) - (self.clock() - self._profile_starts[-1]))

    def describe(self) -> Mapping[str, str]:
        """What happens now, by worker; the name is '' where there is one process only."""
        if self.profile:
            number, total = self.profiles
            return {"": f"profiling {self.profile} in isolation" + (f", {number}/{total}" if total else "")}
        return {name: one.describe() for name, one in list(self.workers.items())} or {"": LOADING}


def format_time_left(seconds: float | None) -> str:
    """'about 2 min left'; '' without an estimate."""
    if seconds is None:
        return ""
    if seconds < 5:
        return "a few seconds left"
    return f"about {format_duration(seconds)} left"


def format_duration(seconds: float) -> str:
    """A time to the precision of an estimate: '40 s', '2 min', '1 h 40 min', '27 h'."""
    if seconds < 57.5:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(5 * round(minutes / 5), 60)
    if hours >= 10 or not rest:
        return f"{round(minutes / 60)} h"
    return f"{hours} h {rest} min"
