"""DoRA (arXiv 2402.09353): magnitude and direction apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.bounds import Count, DropoutRate, LayerNames, Positive
from harness.core.method import METHODS, Member, Sourced, option
from methods.from_peft import FromPeft


@METHODS.register("dora")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Dora(FromPeft):
    """A low-rank pair for the direction of each row of the weight, and a trained magnitude."""

    rank: Count = option(16, "LoRA rank at each target layer", "1 up to the layer's width")
    alpha: Positive = option(16.0, "the product B A is scaled by alpha / rank")
    dropout: DropoutRate = option(0.0, "dropout on the LoRA input")
    target: LayerNames = option(("query", "value"), "linear layers, joined with +", "names, attention, all-linear")

    name: ClassVar[str] = "dora"
    paper: ClassVar[str | None] = "arXiv 2402.09353"
    unfit_weights: ClassVar[Mapping[str | None, str]] = {
        "Int8Params": "peft's norm of the rows is not made for 8-bit weights; use quantize=nf4, fp4 or nf4-dq"
    }
    summary: ClassVar[str] = "LoRA on the direction of the weight, with a trained magnitude"
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(3e-3),
        "small": Sourced(5e-4, "arXiv 2106.09685, RoBERTa-base on GLUE (5e-4)"),
        "paper": Sourced(5e-4, "arXiv 2106.09685, RoBERTa-base on GLUE (5e-4)"),
    }

    @property
    def sites(self) -> tuple[tuple[str, ...], int]:
        return self.target, self.rank

    def config(self, targets: list[str], member: Member) -> Any:
        from peft import LoraConfig

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type] # peft takes floats
            lora_dropout=self.dropout,
            target_modules=targets,
            use_dora=True,
        )
