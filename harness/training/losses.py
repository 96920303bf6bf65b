"""The losses of a model on one batch: from its logits, or without them where the loss and the output layer allow it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from torch import Tensor, nn

from harness.data.task_types.base import Losses
from harness.data.task_types.token_losses import TokenLosses
from harness.models.output_layer import find_output_layer


def compute_losses(
    model: nn.Module,
    losses: Losses,
    inputs: Mapping[str, Tensor],
    targets: Tensor,
    k: int,
    autocast: contextlib.AbstractContextManager[None],
) -> Tensor:
    """Losses [K] of K replicas with their autograd graph; the forward pass runs within `autocast`.

    The logits of a causal model with a linear output layer never exist as a whole.
    """
    # looked up in each step, since a method or a measurement may replace the loss or watch the model
    layer = find_output_layer(model) if isinstance(losses, TokenLosses) else None
    with autocast:
        if layer is None or not isinstance(losses, TokenLosses):
            logits = model(**inputs).logits
        else:
            hidden = layer.backbone(**inputs).last_hidden_state
            return losses.from_hidden(hidden, layer.linear, targets, k)
    return losses(logits, targets, k)
