"""Mean cross-entropy per replica over its own target tokens, from logits or from the hidden states before them."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from harness.replicas.linear_loss import IGNORED, Targets, compute_linear_losses


@dataclasses.dataclass(frozen=True)
class TokenLosses:
    """Cross-entropy as in torch: with smoothing e the target has probability 1 - e + e/V and every other token e/V.

    The same as in transformers' LabelSmoother.
    """

    smoothing: float = 0.0

    def __call__(self, logits: Tensor, targets: Tensor, k: int) -> Tensor:
        """Losses [K] from logits [K*B, n, V] and targets [K*B, n] (-100: no loss)."""
        # A mean over all target tokens of the batch and not over rows, as in transformers: long answers count more.
        losses = compute_each_loss(logits, targets, self.smoothing).view(k, -1).sum(1)
        return losses / (targets != IGNORED).view(k, -1).sum(1)

    def from_hidden(self, hidden: Tensor, output_layer: nn.Linear, targets: Tensor, k: int) -> Tensor:
        """Losses [K] from the output layer's input [K*B, n, d], without ever holding all logits."""
        return compute_linear_losses(
            hidden, output_layer.weight, output_layer.bias, Targets(targets, k, self.smoothing)
        )


def compute_each_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Losses [K*B, n], zero where there is no target. Shapes do not depend on values, so a CUDA graph can hold it."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    losses = nn.functional.cross_entropy(
        wide.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED, label_smoothing=smoothing
    )
    return losses.view(targets.shape)
