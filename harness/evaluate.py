"""Predictions of K replicas on a split."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from harness.tokens import Split

CPU_TOKENS, GPU_TOKENS = 1 << 14, 1 << 18  # tokens of a forward pass


def predict(model: nn.Module, split: Split, k: int, *, autocast: bool = False) -> np.ndarray:
    """Logits [K, n, outputs] float32, in the order of the split; rows of like length share a batch."""
    model.eval()
    order = np.argsort(split.lengths, kind="stable")
    budget = CPU_TOKENS if split.ids.device.type == "cpu" else GPU_TOKENS
    out: np.ndarray | None = None
    start = 0
    while start < len(order):
        longest = int(split.lengths[order[min(len(order), start + max(1, budget // k)) - 1]])
        rows = order[start : start + max(1, budget // (k * longest))]
        start += len(rows)
        batch = {name: value.repeat(k, 1) for name, value in split.batch(rows).items()}
        with torch.inference_mode(), torch.autocast(split.ids.device.type, torch.bfloat16, enabled=autocast):
            logits = model(**batch).logits.float().cpu().numpy()
        if out is None:
            out = np.empty((k, len(order), logits.shape[-1]), dtype=np.float32)
        out[:, rows] = logits.reshape(k, len(rows), -1)
    assert out is not None
    return out


def decisions(logits: np.ndarray) -> np.ndarray:
    """Class ids [n] int64 from logits [n, c], or the values [n] float64 for c = 1."""
    if logits.shape[-1] == 1:
        return np.asarray(logits[:, 0], dtype=np.float64)
    return np.asarray(logits.argmax(-1), dtype=np.int64)
