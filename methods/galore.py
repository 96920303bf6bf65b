"""GaLore (arXiv 2403.03507): full fine-tuning whose optimizer sees the gradients in a low-rank subspace."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from harness.core.bounds import Count, LayerNames, Positive
from harness.core.errors import UserError
from harness.core.method import METHODS, Calibration, Member, Method, Site, Sourced, option
from methods.sites import find_sites

if TYPE_CHECKING:
    from torch import nn

    from harness.replicas.groups import Attached


@METHODS.register("galore")
@dataclasses.dataclass(frozen=True, kw_only=True)
class GaLore(Method):
    """Every weight trains; the moments of the target layers' weights have rank `rank`.

    Rank 4 and scale 4 are those of the paper's GLUE runs; 200 steps between projections are those of its text.
    `all-linear` means the linear layers of attention and feed-forward part of every block.
    """

    rank: Count = option(4, "rank of the subspace of gradients and moments", "1 up to the layer's width")
    update_every: Count = option(200, "steps after which the subspace is recomputed")
    scale: Positive = option(4.0, "factor on the projected update")
    target: LayerNames = option(("all-linear",), "linear layers, joined with +", "names, attention, all-linear")

    name: ClassVar[str] = "galore"
    paper: ClassVar[str | None] = "arXiv 2403.03507"
    summary: ClassVar[str] = "full fine-tuning with the optimizer's moments in a low-rank subspace of the gradient"
    quantizable: ClassVar[bool] = False
    trains_backbone: ClassVar[bool] = True
    autocasts: ClassVar[bool] = True
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(5e-4, "grid of four on the embedded tasks' dev sets"),
        "small": Sourced(3e-5, "arXiv 2403.03507, its code's RoBERTa-base GLUE run (3e-5)"),
        "paper": Sourced(3e-5, "arXiv 2403.03507, its code's RoBERTa-base GLUE run (3e-5)"),
    }

    def fits(self, model: nn.Module) -> None:
        for site in find_sites(model, self.target, self.rank):
            least = min(site.d_in, site.d_out)
            if self.rank > least:
                raise UserError(f"rank={self.rank}: {site.name} is {least} wide; allowed: {least} at most")

    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        from methods.layers.backbone import attach_backbone
        from methods.layers.projection import GradientProjector
        from methods.layers.replica_linear import attach_heads

        head = attach_heads(model, [m.streams for m in members])
        projectors = {
            f"{s.name}.weight": GradientProjector(_get_weight_shape(model, s), self.rank, self.update_every, self.scale)
            for s in find_sites(model, self.target, self.rank)
        }
        attached = attach_backbone(model, projectors)
        # The SVD of a new subspace synchronizes with the host, which a captured CUDA graph cannot.
        attached.eager_steps.append(lambda step: step % self.update_every == 0)
        return attached.join(head)


def _get_weight_shape(model: nn.Module, site: Site) -> tuple[int, int]:
    """The shape of the weight as stored; GPT-2's layers store it transposed."""
    rows, columns = model.get_parameter(f"{site.name}.weight").shape
    return rows, columns
