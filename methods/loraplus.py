"""LoRA+ (arXiv 2402.12354): B has a larger learning rate than A."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from harness.core.errors import UserError
from harness.core.method import METHODS, option
from methods.lowrank import LowRank


@METHODS.register("loraplus")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraPlus(LowRank):
    """The learning rate of B is `ratio` times that of A."""

    ratio: float = option(16.0, "learning rate of B divided by that of A", "above 0")

    name: ClassVar[str] = "loraplus"
    paper: ClassVar[str | None] = "arXiv 2402.12354"
    summary: ClassVar[str] = "LoRA with a larger learning rate for B than for A"

    def check(self) -> None:
        super().check()
        if not self.ratio > 0:
            raise UserError(f"ratio={self.ratio}: allowed: above 0 (learning rate of B divided by that of A)")

    @property
    def lr_ratio(self) -> float:
        return self.ratio
