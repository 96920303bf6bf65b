"""rsLoRA (arXiv 2312.03732): rank-stabilized scale."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from harness.core.method import METHODS
from methods.lowrank import LowRank


@METHODS.register("rslora")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RsLora(LowRank):
    """LoRA at the scale alpha / sqrt(rank)."""

    name: ClassVar[str] = "rslora"
    paper: ClassVar[str | None] = "arXiv 2312.03732"
    summary: ClassVar[str] = "LoRA whose scale is alpha / sqrt(rank), stable at high ranks"

    @property
    def scale(self) -> float:
        # With alpha / rank the update shrinks as the rank grows.
        return self.alpha / math.sqrt(self.rank)

    @property
    def rank_stabilized(self) -> bool:
        return True
