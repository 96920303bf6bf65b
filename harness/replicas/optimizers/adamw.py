"""AdamW (arXiv 1711.05101)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.core.optimizer import OPTIMIZERS, Optimizer

if TYPE_CHECKING:
    from torch import Tensor


@OPTIMIZERS.register("adamw")
class AdamW(Optimizer):
    """torch.optim.AdamW; one replica alone is updated by torch's fused kernel."""

    name = "adamw"
    summary = "AdamW in 32 bits, as torch.optim.AdamW"
    paper = "1711.05101"
    reads = ("beta1", "beta2", "epsilon", "weight_decay")
    moments = ("first", "second")
    trainer = "adamw_torch"

    def compute_tables(self, rates: Tensor, count: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        beta1, beta2 = fields["beta1"], fields["beta2"]
        return {"step_size": rates / (1 - beta1**count), "root": (1 - beta2**count).sqrt()}

    def compute_step(self, gradient: Tensor, moments: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
        first, second, beta2 = moments["first"], moments["second"], values["beta2"]
        first.lerp_(gradient, 1 - values["beta1"])
        second.mul_(beta2).add_(gradient * gradient * (1 - beta2))
        direction = first / second.sqrt().div_(values["root"]).add_(values["epsilon"])
        return direction * (values["step_size"] * values["scale"])

    def get_updater(self) -> type[Any]:
        from harness.replicas.fused_adamw import FusedAdamW

        return FusedAdamW
