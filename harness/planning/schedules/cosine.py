"""Cosine decay to 0 (SGDR without restarts, arXiv 1608.03983)."""

from __future__ import annotations

import math

from harness.core.learning_rate import SCHEDULES


@SCHEDULES.register("cosine")
def decay_by_cosine(step: int, warmup_steps: int, steps: int) -> float:
    """Half a cosine period from 1 to 0."""
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
