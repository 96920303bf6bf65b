"""What a method costs as measured: trainable parameters, peak memory, and speed with its spread over timed steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.record import Profile, Record
from reports.frames import Grid
from reports.solo import find_profile


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
    if profile.samples_per_second is None:
        return None
    if profile.step_percentiles:
        fast, median, slow = profile.step_percentiles
    elif len(profile.step_seconds) > 1:
        import numpy as np

        fast, median, slow = (float(s) for s in np.quantile(profile.step_seconds, [0.1, 0.5, 0.9]))
    else:
        return None
    return Spread(profile.batch_size / median, profile.batch_size / slow, profile.batch_size / fast)
