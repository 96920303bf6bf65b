"""BitFit (arXiv 2106.10199): only the biases train."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from harness.core.errors import NotApplicable
from harness.core.method import METHODS, Calibration, Member, Method, Sourced

if TYPE_CHECKING:
    from torch import nn

    from harness.replicas.groups import Attached


@METHODS.register("bitfit")
@dataclasses.dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """Every bias of the backbone's linear layers and norms trains, without weight decay."""

    name: ClassVar[str] = "bitfit"
    version: ClassVar[int] = 2
    paper: ClassVar[str | None] = "arXiv 2106.10199"
    summary: ClassVar[str] = "only the backbone's biases train"
    family: ClassVar[str | None] = "bitfit"
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(1e-2),
        "small": Sourced(1e-3, "arXiv 2106.10199, upper end of its grid"),
        "paper": Sourced(1e-3, "arXiv 2106.10199, upper end of its grid"),
    }

    def fits(self, model: nn.Module) -> None:
        if not _find_biased_layers(model):
            raise NotApplicable("bitfit: no layer of this model has a bias; use lora")

    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        import torch

        from methods.layers.replica_linear import attach_heads, replace_module
        from methods.layers.replicas import ShiftedBias, build_replica_group, wrap_group

        model.requires_grad_(False)
        streams = [m.streams for m in members]
        head = attach_heads(model, streams)
        biased_layers = _find_biased_layers(model)
        sizes = {f"{n}.bias": m.bias.shape for n, m in biased_layers}
        # Differences to the pretrained biases, so they start at zero; `size=size` binds this iteration's value.
        drawn = [(n, lambda s, size=size: torch.zeros(size)) for n, size in sizes.items()]
        group = build_replica_group(model, drawn, streams)
        for name, module in biased_layers:
            replace_module(model, name, ShiftedBias(module, group.leaves[f"{name}.bias"]))
        return wrap_group(group).join(head)


def _find_biased_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Linear layers and norms with a bias, by path."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, nn.LayerNorm, Conv1D)
    return [(n, m) for n, m in model.named_modules() if isinstance(m, kinds) and m.bias is not None]
