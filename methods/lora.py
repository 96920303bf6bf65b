"""LoRA (arXiv 2106.09685): a low-rank pair beside frozen linear layers."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from harness.contracts import METHODS
from methods.lowrank import LowRank


@METHODS.register("lora")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Lora(LowRank):
    """Every entry of A and B trains."""

    name: ClassVar[str] = "lora"
    paper: ClassVar[str | None] = "arXiv 2106.09685"
    summary: ClassVar[str] = "low-rank adaptation: A and B train, the backbone is frozen"
