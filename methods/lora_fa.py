"""LoRA-FA (arXiv 2308.03303): LoRA with frozen A."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from harness.core.method import METHODS, Masks, PerSite, Site
from harness.core.seeds import Streams
from methods.lowrank import LowRank


@METHODS.register("lora-fa")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraFA(LowRank):
    """A is random and frozen, B trains; the backward pass needs A x (rank numbers per token) and not x."""

    name: ClassVar[str] = "lora-fa"
    paper: ClassVar[str | None] = "arXiv 2308.03303"
    summary: ClassVar[str] = "LoRA with A frozen: only B trains"

    def masks(self, sites: Sequence[Site], streams: Streams, scores: PerSite | None) -> Masks | None:
        # Masks and not `requires_grad`: A then has no gradient, no moments and no saved input.
        return {s.name: (np.zeros(s.shapes[0], bool), np.ones(s.shapes[1], bool)) for s in sites}
