"""Rows of tokens: padding, and batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

# Tokens of a forward pass without gradients: enough to fill the device, few enough for its activations to fit.
CPU_TOKENS, GPU_TOKENS = 1 << 14, 1 << 18


def pad_rows(rows: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, np.ndarray]:
    """Rows of tokens as one tensor [n, longest] int32, and their lengths [n]."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    out = np.full((len(rows), int(lengths.max())), fill, dtype=np.int32)
    out[np.arange(out.shape[1])[None, :] < lengths[:, None]] = np.concatenate([np.asarray(r) for r in rows])
    return torch.from_numpy(out), lengths


def compute_padded_length(longest: int, ids: Tensor) -> int:
    """The padded length of rows of at most `longest` tokens: a multiple of 8 on a GPU, for few CUDA graphs."""
    return longest if ids.device.type == "cpu" else min(-(-longest // 8) * 8, ids.shape[1])


def iterate_length_batches(lengths: np.ndarray, k: int, device: str, budget: int | None = None) -> Iterator[np.ndarray]:
    """Batches of row numbers, shortest rows first; the K replicas of a batch have about `budget` tokens together."""
    order = np.argsort(lengths, kind="stable")
    tokens = budget or (CPU_TOKENS if device == "cpu" else GPU_TOKENS)
    start = 0
    while start < len(order):
        # The longest row that the batch could reach bounds its size; the rows are sorted, so the batch stays below.
        longest = int(lengths[order[min(len(order), start + max(1, tokens // k)) - 1]])
        rows = order[start : start + max(1, tokens // (k * longest))]
        start += len(rows)
        yield rows
