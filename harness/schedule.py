"""How many steps a cell takes, and its learning rate at each."""

from __future__ import annotations

import math

from harness.cell import Protocol


def total_steps(protocol: Protocol, rows: int) -> int:
    """Optimizer steps over `rows` training rows; the last batch of an epoch may be short."""
    steps = math.ceil(protocol.epochs * math.ceil(rows / protocol.batch_size) - 1e-9)
    return max(1, steps if protocol.max_steps is None else min(steps, protocol.max_steps))


def learning_rates(protocol: Protocol, steps: int) -> list[float]:
    """One rate per step: linear warm-up from 0 over ceil(warmup * steps), then linear to 0 or constant.

    The same numbers as transformers' get_linear_schedule_with_warmup: the first step of a warm-up has rate 0.
    """
    warm = math.ceil(protocol.warmup * steps)
    rates = []
    for step in range(steps):
        if step < warm:
            factor = step / max(1, warm)
        elif protocol.schedule == "linear":
            factor = (steps - step) / max(1, steps - warm)
        else:
            factor = 1.0
        rates.append(protocol.lr * factor)
    return rates
