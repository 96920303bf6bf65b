"""Corruption of pretraining text: words masked, replaced and swapped."""

from __future__ import annotations

import torch
from torch import Tensor

from scripts.embedded.recipe import EncoderRecipe


def corrupt(
    ids: Tensor, segments: Tensor, recipe: EncoderRecipe, table: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mask, replace and swap words: corrupted ids, places to predict, places that look wrong.

    In a pair mostly the second sentence is changed: were both changed alike, a mismatch
    would not tell which side is the odd one.
    """
    draw = torch.rand(ids.shape)
    paired = segments.any(1, keepdim=True)
    chance = torch.where(paired & (segments == 0), recipe.replaced / 3, recipe.replaced)
    real = ids > 4
    masked = real & (draw < recipe.masked)
    replaced = real & ~masked & (draw < recipe.masked + chance) & (sizes[ids] > 0)
    unchanged = real & (draw > 1 - recipe.kept)
    pick = (torch.rand(ids.shape) * sizes[ids]).long()
    out = torch.where(replaced, table[ids, pick], ids)
    out = torch.where(masked, torch.full_like(ids, 4), out)
    left = (real & (draw > 0.5) & (draw < 0.5 + recipe.swapped))[:, :-1] & real[:, 1:] & (out[:, 1:] == ids[:, 1:])
    left[:, 1:] &= ~left[:, :-1]
    one, two = out[:, :-1].clone(), out[:, 1:].clone()
    out[:, :-1] = torch.where(left, two, out[:, :-1])
    out[:, 1:] = torch.where(left, one, out[:, 1:])
    return out, masked | replaced | unchanged, real & (out != ids) & (out != 4)
