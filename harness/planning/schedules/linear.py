"""Linear decay to 0."""

from __future__ import annotations

from harness.core.learning_rate import SCHEDULES


@SCHEDULES.register("linear")
def decay_linearly(step: int, warmup_steps: int, steps: int) -> float:
    """Linear decay from 1 to 0."""
    # max(1, ...) as in transformers, so that the numbers agree where all steps are warm-up
    return (steps - step) / max(1, steps - warmup_steps)
