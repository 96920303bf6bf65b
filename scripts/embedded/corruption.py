"""Corruption of pretraining text: masked, replaced and swapped words."""

from __future__ import annotations

import torch
from torch import Tensor

from scripts.embedded.recipe import EncoderRecipe


def corrupt(
    ids: Tensor, segments: Tensor, recipe: EncoderRecipe, table: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(corrupted ids, positions to predict, positions of wrong words), each [rows, words].

    In a pair mostly the second sentence is changed: if both changed equally often, a mismatch would not show which
    side is wrong.
    """
    draw = torch.rand(ids.shape)
    paired = segments.any(1, keepdim=True)
    chance = torch.where(paired & (segments == 0), recipe.replaced / 3, recipe.replaced)
    # Ids 0 to 4 are the special tokens; 4 is the mask.
    real = ids > 4
    masked = real & (draw < recipe.masked)
    replaced = real & ~masked & (draw < recipe.masked + chance) & (sizes[ids] > 0)
    # As in BERT, some words are predicted although they are unchanged, because fine-tuning sees no masks.
    unchanged = real & (draw > 1 - recipe.kept)
    pick = (torch.rand(ids.shape) * sizes[ids]).long()
    out = torch.where(replaced, table[ids, pick], ids)
    out = torch.where(masked, torch.full_like(ids, 4), out)
    left = (real & (draw > 0.5) & (draw < 0.5 + recipe.swapped))[:, :-1] & real[:, 1:] & (out[:, 1:] == ids[:, 1:])
    # No overlapping swaps: a word takes part in one at most.
    left[:, 1:] &= ~left[:, :-1]
    one, two = out[:, :-1].clone(), out[:, 1:].clone()
    out[:, :-1] = torch.where(left, two, out[:, :-1])
    out[:, 1:] = torch.where(left, one, out[:, 1:])
    return out, masked | replaced | unchanged, real & (out != ids) & (out != 4)
