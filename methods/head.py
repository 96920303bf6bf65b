"""Head only: the classification head trains on a frozen backbone (a linear probe)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from harness.core.errors import NotApplicable
from harness.core.method import METHODS, Calibration, Member, Method, Sourced

if TYPE_CHECKING:
    from torch import nn

    from harness.replicas.groups import Attached


@METHODS.register("head")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Head(Method):
    """No options."""

    name: ClassVar[str] = "head"
    summary: ClassVar[str] = "only the classification head trains; the floor that an adapter has to beat"
    family: ClassVar[str | None] = "head"
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(1e-2, "grid of four on the embedded tasks' dev sets"),
        "small": Sourced(1e-3, "this project's choice, not tuned"),
        "paper": Sourced(1e-3, "this project's choice, not tuned"),
    }

    def fits(self, model: nn.Module) -> None:
        from methods.layers.replica_linear import find_head_linears

        if not find_head_linears(model):
            raise NotApplicable("head: a language model has no classification head; use lora or bitfit")

    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        from methods.layers.replica_linear import attach_heads

        model.requires_grad_(False)
        return attach_heads(model, [m.streams for m in members])
