"""What the device can do at most: FLOP/s of one large matrix product."""

from __future__ import annotations

import time

import torch

SIDE = {"cpu": 1024, "cuda": 8192}
TIMES = {"cpu": 5, "cuda": 20}


def matmul_flops(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of the best of some products of two square matrices in `dtype`."""
    side = SIDE[device]
    a = torch.randn(side, side, device=device).to(dtype)
    best = float("inf")
    for _ in range(TIMES[device]):
        start = time.perf_counter()
        torch.mm(a, a)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2.0 * side**3 / best
