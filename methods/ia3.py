"""IA3 (arXiv 2205.05638): trained scales of keys, values and inner activations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.bounds import LayerNames
from harness.core.method import METHODS, Member, Sourced, option
from methods.from_peft import FromPeft


@METHODS.register("ia3")
@dataclasses.dataclass(frozen=True, kw_only=True)
class IA3(FromPeft):
    """Keys and values are scaled at their output, the feed-forward part at the input of its second layer."""

    target: LayerNames = option(("key", "value"), "linear layers, joined with +", "names, attention, all-linear")

    name: ClassVar[str] = "ia3"
    paper: ClassVar[str | None] = "arXiv 2205.05638"
    summary: ClassVar[str] = "trained vectors scale keys and values"
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(3e-2),
        "small": Sourced(3e-3, "arXiv 2205.05638 (3e-3)"),
        "paper": Sourced(3e-3, "arXiv 2205.05638 (3e-3)"),
    }

    @property
    def sites(self) -> tuple[tuple[str, ...], int]:
        return self.target, 1

    def config(self, targets: list[str], member: Member) -> Any:
        from peft import IA3Config

        return IA3Config(target_modules=targets, feedforward_modules=[])
