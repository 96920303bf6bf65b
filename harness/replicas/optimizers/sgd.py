"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.core.optimizer import OPTIMIZERS, Optimizer

if TYPE_CHECKING:
    from torch import Tensor

    from harness.core.protocol import Protocol


@OPTIMIZERS.register("sgd")
class SGD(Optimizer):
    """torch.optim.SGD without dampening: weight decay is added to the gradient, before the momentum."""

    name = "sgd"
    summary = "gradient descent, with --momentum above 0 as torch.optim.SGD has it"
    reads = ("momentum", "weight_decay")
    moments = ("momentum",)
    decay = "coupled"
    trainer = "sgd"

    def list_moments(self, protocols: Sequence[Protocol]) -> tuple[str, ...]:
        return self.moments if any(protocol.momentum for protocol in protocols) else ()

    def compute_step(self, gradient: Tensor, moments: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
        if not moments:
            return gradient * values["rate"]
        # from zero, the first momentum is the gradient itself, as in torch
        return moments["momentum"].mul_(values["momentum"]).add_(gradient) * values["rate"]
