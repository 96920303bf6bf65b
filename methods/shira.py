"""SHiRA (arXiv 2406.13175): a sparse selection of the weight's entries trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.bounds import Count, LayerNames
from harness.core.errors import NotApplicable
from harness.core.method import METHODS, Member, Site, Sourced, option
from methods.from_peft import FromPeft
from methods.sites import find_sites

if TYPE_CHECKING:
    from torch import nn


@METHODS.register("shira")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Shira(FromPeft):
    """Random entries of each target weight train, as many as LoRA of this rank has parameters."""

    rank: Count = option(16, "train as many entries as LoRA of this rank has")
    target: LayerNames = option(("query", "value"), "linear layers, joined with +", "names, attention, all-linear")

    name: ClassVar[str] = "shira"
    paper: ClassVar[str | None] = "arXiv 2406.13175"
    summary: ClassVar[str] = "a random sparse part of the weight trains"
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(3e-3),
        "small": Sourced(1e-3),
        "paper": Sourced(1e-3),
    }

    @property
    def sites(self) -> tuple[tuple[str, ...], int]:
        return self.target, self.rank

    def fits(self, model: nn.Module) -> None:
        from torch import nn

        super().fits(model)
        other = [
            s.name for s in find_sites(model, *self.sites) if not isinstance(model.get_submodule(s.name), nn.Linear)
        ]
        if other:
            raise NotApplicable(f"shira: peft's SHiRA supports no Conv1D layer such as {other[0]}; use lora")

    def most(self, site: Site) -> int:
        # At this rank LoRA has as many parameters as the weight has entries.
        return site.d_in * site.d_out // (site.d_in + site.d_out)

    def config(self, targets: list[str], member: Member) -> Any:
        import torch
        from peft import ShiraConfig

        # Disabled is the default, but torch warns until it is set.
        torch.sparse.check_sparse_tensor_invariants.disable()

        # 31 of the 63 bits: a seed that fits any generator and the adapter's JSON.
        return ShiraConfig(
            r=self.rank, target_modules=targets, random_seed=member.streams.integer("mask", "shira") >> 32
        )
