"""The number of optimizer steps of a cell, and the learning rate at each step."""

from __future__ import annotations

import math

from harness.core.learning_rate import SCHEDULES
from harness.core.protocol import Protocol

STEPS_VERSION = 2
"""Part of the cell key if the number of epochs is fractional; raised when `count_steps` changes for such numbers."""


def count_steps(protocol: Protocol, rows: int) -> int:
    """The number of optimizer steps over `rows` training rows, at least 1; the last batch of an epoch may be short.

    Without `max_steps` it equals that of transformers' Trainer. `max_steps` limits the epochs; in Trainer it replaces
    them.
    """
    # Trainer rounds the floating-point product up: 1.1 epochs of 100 batches are 110.00000000000001, so 111 steps
    steps = protocol.epochs * math.ceil(rows / protocol.batch_size)
    if protocol.max_steps is not None and steps >= protocol.max_steps:
        return protocol.max_steps
    return max(1, math.ceil(steps))


def count_warmup_steps(protocol: Protocol, steps: int) -> int:
    """The steps of linear warm-up: `warmup` is a share of all steps below 1, and a number of steps from 1 on."""
    if protocol.warmup < 1:
        return math.ceil(protocol.warmup * steps)
    return min(steps, int(protocol.warmup))


def compute_learning_rates(protocol: Protocol, steps: int) -> list[float]:
    """The learning rates [steps]: linear warm-up from 0, then the protocol's schedule (harness/planning/schedules/).

    The numbers of transformers' schedules with warm-up: with one, the first step has rate 0.
    """
    warmup_steps = count_warmup_steps(protocol, steps)
    schedule = SCHEDULES.get(protocol.schedule)
    # max(1, ...) as in transformers, so that the numbers agree there too
    warmup = [step / max(1, warmup_steps) for step in range(warmup_steps)]
    after_warmup = [schedule(step, warmup_steps, steps) for step in range(warmup_steps, steps)]
    return [protocol.lr * factor for factor in (*warmup, *after_warmup)]
