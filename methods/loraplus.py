"""LoRA+ (arXiv 2402.12354): B has a larger learning rate than A."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from harness.core.bounds import Positive
from harness.core.method import METHODS, option
from methods.lowrank import LowRank


@METHODS.register("loraplus")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraPlus(LowRank):
    """The learning rate of B is `ratio` times that of A."""

    ratio: Positive = option(16.0, "learning rate of B divided by that of A")

    name: ClassVar[str] = "loraplus"
    paper: ClassVar[str | None] = "arXiv 2402.12354"
    summary: ClassVar[str] = "LoRA with a larger learning rate for B than for A"

    @property
    def lr_ratio(self) -> float:
        return self.ratio
