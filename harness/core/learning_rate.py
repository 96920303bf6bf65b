"""The registry of learning-rate schedules. A schedule is one function in one file; this module imports no torch."""

from __future__ import annotations

from collections.abc import Callable

from harness.core.registry import Registry

Schedule = Callable[[int, int, int], float]
"""(step, warm-up steps, steps) -> factor of the peak rate, for steps from the end of the warm-up on, counted from 0."""

SCHEDULES: Registry[Schedule] = Registry("schedule", package="harness.planning.schedules")
