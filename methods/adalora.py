"""AdaLoRA (arXiv 2303.10512): the rank of each site follows its importance while training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge

from harness.core.bounds import Count, DropoutRate, LayerNames, Positive
from harness.core.errors import UserError
from harness.core.method import METHODS, Member, Sourced, option
from methods.from_peft import FromPeft

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.replicas.groups import Attached


@METHODS.register("adalora")
@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaLora(FromPeft):
    """Starts at `start_rank` a site and prunes to `rank` on average, from 10 % to 70 % of the steps."""

    rank: Count = option(16, "mean rank of the sites at the end")
    start_rank: Count = option(24, "rank of each site at the start", "rank up to the layer's width")
    alpha: Positive = option(16.0, "the product B A is scaled by alpha / rank")
    dropout: DropoutRate = option(0.0, "dropout on the LoRA input")
    target: LayerNames = option(("query", "value"), "linear layers, joined with +", "names, attention, all-linear")
    orthogonal: Annotated[float, Ge(0)] = option(0.5, "weight of the penalty that keeps both factors orthogonal")

    name: ClassVar[str] = "adalora"
    paper: ClassVar[str | None] = "arXiv 2303.10512"
    summary: ClassVar[str] = "singular values pruned by importance while training"
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(3e-3),
        "small": Sourced(5e-4, "arXiv 2106.09685, RoBERTa-base on GLUE (5e-4)"),
        "paper": Sourced(5e-4, "arXiv 2106.09685, RoBERTa-base on GLUE (5e-4)"),
    }

    def check(self) -> None:
        super().check()
        if self.start_rank < self.rank:
            raise UserError(f"start_rank={self.start_rank}: allowed: rank ({self.rank}) or more")

    @property
    def sites(self) -> tuple[tuple[str, ...], int]:
        return self.target, self.start_rank

    def config(self, targets: list[str], member: Member) -> Any:
        from peft import AdaLoraConfig

        # From 4 steps on, the last phase, at the final ranks, has at least one step.
        steps = max(member.steps, 4)
        return AdaLoraConfig(
            # Ranks shrink between 10 % and 70 % of the steps; peft counts `tfinal` from the end.
            target_r=self.rank,
            init_r=self.start_rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type] # peft takes floats
            lora_dropout=self.dropout,
            target_modules=targets,
            total_step=steps,
            tinit=steps // 10,
            tfinal=steps * 3 // 10,
            deltaT=max(1, steps // 100),
            orth_reg_weight=self.orthogonal,
        )

    def tuner(self, model: nn.Module, config: Any) -> Any:
        tuner = super().tuner(model, config)
        for name, parameter in model.named_parameters():
            # A constant of peft's; where peft casts it to the backbone's dtype it would train and decay.
            if ".ranknum." in name:
                parameter.requires_grad_(False)
        return tuner

    def register_hooks(self, tuner: Any, attached: Attached) -> None:
        attached.after_step.append(tuner.update_and_allocate)
        attached.extra_state.append(AllocatorState(tuner))
        if self.orthogonal:
            attached.penalty = lambda: self.orthogonal * _compute_orthogonality(tuner.model)


class AllocatorState:
    """The importance of each entry in peft's rank allocator and its current ranks, for a checkpoint."""

    # Importance, and the moving averages of importance and its uncertainty (names of peft).
    FIELDS = ("ipt", "exp_avg_ipt", "exp_avg_unc")

    def __init__(self, tuner: Any) -> None:
        self.allocator, self.config = tuner.rankallocator, tuner.peft_config["default"]

    def state(self) -> dict[str, Any]:
        maps = {field: getattr(self.allocator, field) for field in self.FIELDS}
        copies: dict[str, Any] = {}
        for field, values in maps.items():
            copies[field] = {name: value.to("cpu", copy=True) for name, value in values.items()}
        return copies | {"rank_pattern": self.config.rank_pattern}

    def restore(self, state: dict[str, Any]) -> None:
        for field in self.FIELDS:
            setattr(self.allocator, field, {n: v.clone() for n, v in state[field].items()})
        self.config.rank_pattern = state["rank_pattern"]


def _compute_orthogonality(model: nn.Module) -> Tensor:
    """Mean over the factors of the Frobenius norm of P P^T - I (or Q^T Q - I), as peft's AdaLoraModel adds it."""
    import torch

    norms = []
    for name, p in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            product = p @ p.T if "lora_A" in name else p.T @ p
            norms.append(torch.linalg.norm(product - torch.eye(len(product), dtype=p.dtype, device=p.device)))
    return torch.stack(norms).mean()
