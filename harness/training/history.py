"""The loss curve of a member, apart from the trainer: the run's own process reads it and may not need torch."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class TrainingHistory:
    """Loss curve of one member as (step, mean loss), and the step at which the loss was first seen not to be finite."""

    steps: int
    curve: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    broke_at: int | None = None
