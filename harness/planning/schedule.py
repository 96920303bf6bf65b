"""The number of optimizer steps of a cell, and the learning rate at each step."""

from __future__ import annotations

import math

from harness.core.cell import Protocol

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


def compute_learning_rates(protocol: Protocol, steps: int) -> list[float]:
    """The learning rates [steps]: linear warm-up from 0 over ceil(warmup * steps), then linear decay or constant.

    Equal to transformers' get_linear_schedule_with_warmup: with a warm-up the first step has rate 0.
    """
    warmup_steps = math.ceil(protocol.warmup * steps)
    rates = []
    for step in range(steps):
        # max(1, ...) as in transformers, so that the numbers agree there too
        if step < warmup_steps:
            factor = step / max(1, warmup_steps)
        elif protocol.schedule == "linear":
            factor = (steps - step) / max(1, steps - warmup_steps)
        else:
            factor = 1.0
        rates.append(protocol.lr * factor)
    return rates
