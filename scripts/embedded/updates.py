"""What the pretraining scripts share: their command line, the optimizer and one update."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from scripts.embedded.recipe import Recipe


def build_parser(description: str | None, *, steps: int, threads: int = 1) -> argparse.ArgumentParser:
    """The flags of a pretraining script, with its defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--threads", type=int, default=threads)
    return parser


def set_up_torch(threads: int) -> None:
    """Set the number of threads, and treat denormal numbers as zero, which is faster."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def create_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)


def create_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.OneCycleLR:
    """A warm-up over 5 % of the steps, then linear decay."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, recipe.steps + 1, pct_start=0.05, anneal_strategy="linear", cycle_momentum=False
    )


def update(
    model: nn.Module,
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """One update by the clipped gradient of a loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
