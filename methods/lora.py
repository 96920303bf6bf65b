"""LoRA (arXiv 2106.09685): a trained low-rank pair parallel to frozen linear layers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from harness.core.method import METHODS, STRATEGIES, Masks, PerSite, Site, option
from harness.core.seeds import Streams
from methods.lowrank import LowRank
from methods.masks import build_masks


@METHODS.register("lora")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Lora(LowRank):
    """Every entry of A and B trains.

    `match=lorasp` has as many trainable parameters as lorasp at this rank: half of the rank at the same scale. For an
    odd rank, half rounds up, and random entries are frozen so that the number is exact.
    """

    match: Literal["none", "lorasp"] = option("none", "lorasp: as many trainable parameters as lorasp has at this rank")

    name: ClassVar[str] = "lora"
    paper: ClassVar[str | None] = "arXiv 2106.09685"
    summary: ClassVar[str] = "low-rank adaptation: A and B train, the backbone is frozen"

    @property
    def site_rank(self) -> int:
        return self.rank if self.match == "none" else math.ceil(self.rank / 2)

    def strategies(self) -> tuple[str, ...]:
        return ("random",) if self.match != "none" and self.rank % 2 else ()

    def masks(self, sites: Sequence[Site], streams: Streams, scores: PerSite | None) -> Masks | None:
        if self.match == "none" or self.rank % 2 == 0:
            return None
        # Half of an odd rank is no whole rank: the rank is rounded up, and a share below 1 makes the count exact.
        share = self.rank / 2 / self.site_rank
        return build_masks(STRATEGIES.get("random"), sites, share, "matrix", streams, None)
