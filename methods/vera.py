"""VeRA (arXiv 2310.11454): random matrices shared by all sites, and trained scaling vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.bounds import Count, DropoutRate, LayerNames
from harness.core.method import METHODS, Member, Site, Sourced, option
from methods.from_peft import FromPeft


@METHODS.register("vera")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Vera(FromPeft):
    """One frozen random pair for all sites; at each site a vector [rank] and a vector [d_out] train."""

    rank: Count = option(64, "rank of the shared random pair")
    dropout: DropoutRate = option(0.0, "dropout on the LoRA input")
    target: LayerNames = option(("query", "value"), "linear layers, joined with +", "names, attention, all-linear")

    name: ClassVar[str] = "vera"
    paper: ClassVar[str | None] = "arXiv 2310.11454"
    summary: ClassVar[str] = "one frozen random pair for all sites, with trained scaling vectors"
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(3e-2),
        "small": Sourced(1e-2, "arXiv 2310.11454, upper end of its GLUE rates"),
        "paper": Sourced(1e-2, "arXiv 2310.11454, upper end of its GLUE rates"),
    }

    @property
    def sites(self) -> tuple[tuple[str, ...], int]:
        return self.target, self.rank

    def most(self, site: Site) -> int:
        # Random directions may outnumber the width of a layer.
        return self.rank

    def config(self, targets: list[str], member: Member) -> Any:
        from peft import VeraConfig

        return VeraConfig(
            r=self.rank,
            vera_dropout=self.dropout,
            target_modules=targets,
            # 31 of the 63 bits: a seed that fits any generator and the adapter's JSON.
            projection_prng_key=member.streams.integer("init", "projection") >> 32,
        )
