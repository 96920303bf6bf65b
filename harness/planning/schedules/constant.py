"""A constant rate."""

from __future__ import annotations

from harness.core.learning_rate import SCHEDULES


@SCHEDULES.register("constant")
def keep_constant(step: int, warmup_steps: int, steps: int) -> float:
    """The peak rate at every step."""
    return 1.0
