"""PiSSA (arXiv 2404.02948): LoRA that starts from the principal singular vectors of the weight."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.core.errors import NotApplicable
from harness.core.method import METHODS, Site
from harness.core.seeds import Streams
from methods.lowrank import LowRank, Memo

if TYPE_CHECKING:
    from torch import Tensor, nn

    from methods.layers.pair import Pair


@METHODS.register("pissa")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Pissa(LowRank):
    """A and B start from the weight's principal part W_r, which is subtracted so that the output does not change.

    The paper subtracts it from the weight. A pack shares the backbone, so here -B0 A0 is added as frozen ranks.
    """

    name: ClassVar[str] = "pissa"
    paper: ClassVar[str | None] = "arXiv 2404.02948"
    summary: ClassVar[str] = "LoRA that starts from the principal singular values of the weight"

    @property
    def stored_rank(self) -> int:
        return 2 * self.rank

    def check_initial(self) -> None:
        raise NotApplicable("method 'pissa' starts from the weight itself; to continue from an adapter use lora")

    def start(self, site: Site, model: nn.Module, streams: Streams, memo: Memo) -> tuple[Tensor, Tensor]:
        import torch

        from methods.layers.weights import get_dense_weight

        if site.name not in memo:
            weight = get_dense_weight(model.get_submodule(site.name)).double().cpu()
            memo[site.name] = torch.linalg.svd(weight, full_matrices=False)
        u, s, v = memo[site.name]
        # scale * B A then equals the leading part U S V^T of the weight.
        root = (s[: site.rank] / self.scale).sqrt()
        return root[:, None] * v[: site.rank], u[:, : site.rank] * root

    def pair(self, start: tuple[Tensor, Tensor], masks: tuple[np.ndarray, np.ndarray] | None) -> Pair:
        import torch

        a, b = start
        train_a, train_b = (np.ones(tuple(m.shape), bool) for m in start)
        # [A0; A0] and [B0, -B0]: ranks 0 to r train, ranks r to 2r are frozen and cancel the start.
        both = torch.cat([a, a]), torch.cat([b, -b], dim=1)
        frozen = np.concatenate([train_a, ~train_a]), np.concatenate([train_b, ~train_b], axis=1)
        return super().pair(both, frozen)
