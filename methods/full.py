"""Full fine-tuning: every weight of the backbone trains, in float32."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from harness.core.method import METHODS, Calibration, Member, Method, Sourced

if TYPE_CHECKING:
    from torch import nn

    from harness.replicas.groups import Attached


@METHODS.register("full")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Full(Method):
    """No options. It changes the backbone, so it trains alone and not on a quantized backbone."""

    name: ClassVar[str] = "full"
    summary: ClassVar[str] = "full fine-tuning: every weight trains"
    quantizable: ClassVar[bool] = False
    trains_backbone: ClassVar[bool] = True
    autocasts: ClassVar[bool] = True
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(5e-4, "grid of four on the embedded tasks' dev sets"),
        "small": Sourced(5e-5, "arXiv 1810.04805, upper end of BERT's grid"),
        "paper": Sourced(2e-5, "arXiv 1907.11692, within RoBERTa's GLUE grid"),
    }

    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        from methods.layers.backbone import attach_backbone
        from methods.layers.replica_linear import attach_heads

        head = attach_heads(model, [m.streams for m in members])
        return attach_backbone(model).join(head)
