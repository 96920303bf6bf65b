"""Measure the device's ceiling: FLOP/s of one large matrix product."""

from __future__ import annotations

import time

import torch

SIDE = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices."""
LEAST_TIMES, LEAST_SECONDS = {"cpu": 5, "cuda": 20}, {"cpu": 1.0, "cuda": 0.0}
"""Fewest products and seconds: a CPU's first products are slow, and other processes may occupy it for a while."""


def measure_matmul_flops(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of several products of square matrices [SIDE, SIDE] in `dtype`."""
    side = SIDE[device]
    a = torch.randn(side, side, device=device).to(dtype)
    best, count, start_time = float("inf"), 0, time.perf_counter()
    while count < LEAST_TIMES[device] or time.perf_counter() - start_time < LEAST_SECONDS[device]:
        count += 1
        start = time.perf_counter()
        torch.mm(a, a)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2.0 * side**3 / best
