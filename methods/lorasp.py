"""LoRA-SP (arXiv 2403.08822): LoRA with a part of the entries of A and B frozen, by default a random half."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from harness.contracts import METHODS, STRATEGIES, Masks, Site
from harness.errors import UserError
from harness.seeds import Streams
from methods.lowrank import LowRank


@METHODS.register("lorasp")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraSP(LowRank):
    """`ratio` of the entries of each matrix train, chosen by the strategy `select`; the rest never moves."""

    select: str = "random"
    ratio: float = 0.5

    name: ClassVar[str] = "lorasp"
    paper: ClassVar[str | None] = "arXiv 2403.08822"
    summary: ClassVar[str] = "LoRA with a random half of the entries of A and B frozen"
    paper_options: ClassVar[Mapping[str, Any]] = {"target": ("query", "key", "value")}

    def check(self) -> None:
        super().check()
        if not 0 < self.ratio <= 1:
            raise UserError(f"ratio={self.ratio}: allowed: above 0, at most 1 (the share of entries that train)")
        STRATEGIES.get(self.select)

    def masks(self, sites: Sequence[Site], streams: Streams) -> Masks | None:
        return STRATEGIES.get(self.select)(sites, self.ratio, streams.numpy("mask", self.select))
