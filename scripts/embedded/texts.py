"""Pretraining text as tensors: padded word ids, composed to pairs, drawn in batches.

first [n, longest]   second [n, longest]   -> compose -> [CLS] first [SEP] second [SEP] [PAD] ...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class EncodedPairs:
    """Padded word ids of all first and second sentences, with their lengths."""

    first: Tensor
    second: Tensor
    first_size: Tensor
    second_size: Tensor


def pad(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Rows as one padded matrix, and their lengths."""
    sizes = [len(row) for row in rows]
    matrix = np.zeros((len(rows), max(sizes)), dtype=np.int64)
    for number, row in enumerate(rows):
        matrix[number, : len(row)] = row
    return torch.from_numpy(matrix), torch.tensor(sizes)


def encode(words: list[str], pairs: list[tuple[list[str], list[str]]]) -> EncodedPairs:
    """Word ids of all pairs."""
    index = {word: number for number, word in enumerate(words)}
    first_rows, second_rows = [], []
    for one, two in pairs:
        first_rows.append([index[word] for word in one])
        second_rows.append([index[word] for word in two])
    first, first_size = pad(first_rows)
    second, second_size = pad(second_rows)
    return EncodedPairs(first, second, first_size, second_size)


def compose(text: EncodedPairs, rows: Tensor, partners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`[CLS] first [SEP] second [SEP]` as ids, segments and attention mask, each [rows, words]."""
    size_a, size_b = text.first_size[rows], text.second_size[partners]
    ends = 2 + size_a + torch.where(size_b > 0, size_b + 1, 0)
    spot = torch.arange(int(ends.max())).expand(len(rows), -1)
    start_b = (size_a + 2)[:, None]
    in_a, in_b = (
        (spot >= 1) & (spot <= size_a[:, None]),
        (spot >= start_b) & (spot < start_b + size_b[:, None]),
    )
    # Starts as [SEP] (3) everywhere; words and padding overwrite all but the separators.
    ids = torch.full_like(spot, 3)
    ids[:, 0] = 2
    from_a = text.first[rows].gather(1, (spot - 1).clamp(0, text.first.shape[1] - 1))
    from_b = text.second[partners].gather(1, (spot - start_b).clamp(0, text.second.shape[1] - 1))
    mask = spot < ends[:, None]
    ids = torch.where(in_a, from_a, torch.where(in_b, from_b, ids)) * mask
    return ids, ((spot >= start_b) & mask).long(), mask.long()


def iterate_batches(size: Tensor, batch: int) -> Iterator[Tensor]:
    """An endless stream of random length-bucketed batches of row numbers."""
    while True:
        # Sorting within a pool of 16 batches saves padding and keeps the order of batches random.
        pool = torch.randint(len(size), (16 * batch,))
        chunks = torch.split(pool[size[pool].argsort()], batch)
        for number in torch.randperm(16).tolist():
            yield chunks[number]
