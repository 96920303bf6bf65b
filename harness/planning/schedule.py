"""How many steps a cell takes, and its learning rate at each."""

from __future__ import annotations

import math

from harness.core.cell import Protocol

STEPS_VERSION = 2
"""Raised when a number of epochs gives another number of steps."""


def count_steps(protocol: Protocol, rows: int) -> int:
    """Optimizer steps over `rows` training rows; the last batch of an epoch may be short.

    Without `max_steps`, as many as transformers' Trainer takes, whose floating-point product it rounds up as it is: 1.1
    epochs of 10 batches are 12 steps. `max_steps` here bounds the epochs, and does not replace them as Trainer's does.
    """
    steps = protocol.epochs * math.ceil(rows / protocol.batch_size)
    if protocol.max_steps is not None and steps >= protocol.max_steps:
        return protocol.max_steps
    return max(1, math.ceil(steps))


def compute_learning_rates(protocol: Protocol, steps: int) -> list[float]:
    """One rate per step: linear warm-up from 0 over ceil(warmup * steps), then linear to 0 or constant.

    The same numbers as transformers' get_linear_schedule_with_warmup: the first step of a warm-up has rate 0.
    """
    warmup_steps = math.ceil(protocol.warmup * steps)
    rates = []
    for step in range(steps):
        if step < warmup_steps:
            factor = step / max(1, warmup_steps)
        elif protocol.schedule == "linear":
            factor = (steps - step) / max(1, steps - warmup_steps)
        else:
            factor = 1.0
        rates.append(protocol.lr * factor)
    return rates
