"""What a method costs as measured: trainable parameters, peak memory, and speed with its spread over timed steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.profile import Profile
from harness.core.record import Record
from reports.frames import Grid
from reports.solo import find_profile

TIMES = "\N{MULTIPLICATION SIGN}"
MAX_OTHER_LOAD = 0.1
"""Share of the processors' time that other processes may use while a speed is measured."""


@dataclass(frozen=True)
class Spread:
    """The median of a measured figure, and its 10th and 90th percentile."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{format_figure(self.median)} ({format_figure(self.low)} to {format_figure(self.high)})"


@dataclass(frozen=True)
class MethodCost:
    """Each figure is None where it was not measured.

    `trainable_parameters` exclude the head. `peak_bytes` and `speed` (samples per second) are from `profile`, which was
    taken in isolation; `peak_kind` says what the peak counts.
    """

    trainable_parameters: int | None
    peak_bytes: int | None
    peak_kind: str
    speed: Spread | None
    profile: Profile | None


def format_figure(value: float) -> str:
    """Whole numbers from 10 on, else two figures: 92, 3.1, 0.45."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"


def find_cost(grid: Grid, method: str, profiles: Sequence[Profile]) -> MethodCost:
    """The cost of a method: counts of its first record that has some, figures of the profile of that record's cell."""
    records = grid.select_method(method)
    # a cell that failed has no counts, but another one of the method may
    record = next((r for r in records if r.parameters), records[0])
    profile = find_profile(record, profiles, finished=True)
    return MethodCost(
        count_trainable(record),
        profile.peak_bytes if profile else None,
        profile.peak_kind if profile else "",
        compute_speed(profile) if profile else None,
        profile,
    )


def count_trainable(record: Record) -> int | None:
    """Trainable parameters of adapter and backbone, head excluded; None if the record has no counts."""
    p = record.parameters
    return p.adapter_trained + p.backbone_trained if p else None


def compute_speed(profile: Profile) -> Spread | None:
    """Samples per second over the timed steps; None of fewer than two steps, which have no spread."""
    if profile.samples_per_second is None or len(profile.step_seconds) < 2:
        return None
    import numpy as np

    fast, median, slow = (float(s) for s in np.quantile(profile.step_seconds, [0.1, 0.5, 0.9]))
    # a slow step is a low speed, so the quantiles change places
    return Spread(profile.batch_size / median, profile.batch_size / slow, profile.batch_size / fast)


def describe_load(profile: Profile) -> str:
    """What else ran while the profile was taken: 'others 3 %', 'load unknown', 'others on the GPU'."""
    if profile.shared_with:
        return "others on the GPU"
    if profile.load is None or profile.load.others is None:
        return "load unknown"
    return f"others {100 * profile.load.others:.0f} %"


def is_undisturbed(profile: Profile) -> bool:
    """Whether it is known that hardly anything else ran."""
    load = profile.load
    return not profile.shared_with and load is not None and load.others is not None and load.others <= MAX_OTHER_LOAD


@dataclass(frozen=True)
class SpeedRatio:
    """Speed of one method over that of another.

    `low` and `high` are what the ends of both spreads make of it, so they hold 1 exactly where the spreads overlap.
    `disturbance` says why the measurements allow no claim, '' where nothing speaks against one.
    """

    value: float
    low: float
    high: float
    disturbance: str

    @property
    def is_shown(self) -> bool:
        """Whether a difference may be claimed: nothing disturbed the profiles, and their spreads do not overlap."""
        return not self.disturbance and not self.low <= 1 <= self.high

    def describe(self, first: str) -> str:
        """How many times as fast as `first` with the spread, or that no difference is shown, and why."""
        spread = f"({self.low:.2f} to {self.high:.2f})"
        if self.is_shown:
            return f"{self.value:.2f}{TIMES} as fast as {first} {spread}"
        why = f" ({self.disturbance})" if self.disturbance else ""
        return f"speed {self.value:.2f}{TIMES} {spread}: no difference shown{why}"


def compare_speeds(profile: Profile, other: Profile) -> SpeedRatio | None:
    """The speed of a profile over that of another; None where either has no spread."""
    a, b = compute_speed(profile), compute_speed(other)
    if a is None or b is None:
        return None
    disturbed = [describe_load(p) for p in (profile, other) if not is_undisturbed(p)]
    # the ends: the slowest of one over the fastest of the other, and the reverse
    return SpeedRatio(a.median / b.median, a.low / b.high, a.high / b.low, ", ".join(dict.fromkeys(disturbed)))
