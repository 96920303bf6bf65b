"""The LoRA family: shared options, the sites that they select, and how its members attach as one pack.

options -> sites (names, widths) -> start values of A and B -> scores -> masks -> pairs -> attached layers
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.core.bounds import Count, DropoutRate, LayerNames, Positive
from harness.core.errors import NotApplicable, UserError
from harness.core.method import (
    Calibration,
    Exported,
    Initial,
    Masks,
    Member,
    Method,
    PerSite,
    ScoreKind,
    Site,
    Sourced,
    option,
)
from harness.core.seeds import Streams
from methods.masks import compute_trained_ratio
from methods.sites import find_sites

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from harness.replicas.groups import Attached
    from methods.layers.pair import Pair

Memo = dict[Any, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRank(Method):
    """Options shared by the family. A member decides which entries train, their start values and the scale."""

    rank: Count = option(16, "LoRA rank at each target layer", "1 up to the layer's width")
    alpha: Positive = option(16.0, "the product B A is scaled by alpha / rank")
    dropout: DropoutRate = option(0.0, "dropout on the LoRA input")
    target: LayerNames = option(("query", "value"), "linear layers, joined with +", "names, attention, all-linear")

    family: ClassVar[str | None] = "lowrank"
    exports: ClassVar[bool] = True
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(3e-3, "grid of four on the embedded tasks' dev sets"),
        "small": Sourced(5e-4, "arXiv 2106.09685, RoBERTa-base on GLUE (5e-4)"),
        "paper": Sourced(5e-4, "arXiv 2106.09685, RoBERTa-base on GLUE (5e-4)"),
    }

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def rank_stabilized(self) -> bool:
        """Whether alpha is divided by the square root of the rank (arXiv 2312.03732)."""
        return False

    @property
    def lr_ratio(self) -> float:
        """Learning rate of B divided by that of A."""
        return 1.0

    @property
    def site_rank(self) -> int:
        """The rank of each site."""
        return self.rank

    @property
    def stored_rank(self) -> int:
        """The rank of the exported pair, with ranks that do not train."""
        return self.site_rank

    def fits(self, model: nn.Module) -> None:
        for site in find_sites(model, self.target, self.site_rank):
            if self.rank > min(site.d_in, site.d_out):
                width = f"{site.d_in} to {site.d_out}"
                raise UserError(
                    f"rank={self.rank}: {site.name} maps {width}; allowed: {min(site.d_in, site.d_out)} at most"
                )

    def check_initial(self) -> None:
        if self.score_kind() not in (None, "weight"):
            why = f"{self.score_kind()} scores are measured where B is zero"
            raise NotApplicable(f"method '{self.name}' cannot start from --init-from: {why}")
        if "inputs" in self.requests():
            why = "inputs are measured without an adapter"
            raise NotApplicable(f"method '{self.name}' cannot start from --init-from: {why}")

    def fits_initial(self, model: nn.Module, initial: Initial) -> list[str]:
        from methods.layers.initial import check_other_tensors, check_pairs

        check_pairs(initial, find_sites(model, self.target, self.site_rank), self.site_rank)
        return check_other_tensors(model, initial)

    def export(self, model: nn.Module, attached: Attached, slot: int) -> Exported:
        """The adapter as plain LoRA of peft, which does not need to know which entries trained."""
        from methods.layers.exporting import export_lora

        return export_lora(model, slot, rank=self.stored_rank, dropout=self.dropout, rslora=self.rank_stabilized)

    def score_kind(self) -> ScoreKind | None:
        """The kind of scores that `masks` needs before training, or None."""
        return None

    def requests(self) -> tuple[str, ...]:
        """Names of `harness.core.strategy.REQUESTS`; `masks` gets them as a fourth argument if there are any."""
        return ()

    def masks(self, sites: Sequence[Site], streams: Streams, scores: PerSite | None) -> Masks | None:
        """The trained entries at each site; None where every entry trains."""
        return None

    @property
    def resample_interval(self) -> int:
        """Steps after which the mask is resampled; 0 for never."""
        return 0

    def resample_masks(self, sites: Sequence[Site], streams: Streams, draw: int) -> Masks:
        """The trained entries after resampling number `draw`."""
        raise NotImplementedError(f"{self.name} does not resample its masks")

    def start(self, site: Site, model: nn.Module, streams: Streams, memo: Memo) -> tuple[Tensor, Tensor]:
        """A [rank, d_in] and B [d_out, rank] before training; `memo` caches results that replicas share."""
        return draw_factors(site, streams)

    def pair(self, start: tuple[Tensor, Tensor], masks: tuple[np.ndarray, np.ndarray] | None) -> Pair:
        """One site's pair with its masks."""
        import numpy as np

        from methods.layers.pair import Pair

        train_a, train_b = masks or tuple(np.ones(tuple(m.shape), bool) for m in start)
        return Pair(*start, train_a, train_b, self.scale, self.dropout, self.lr_ratio)

    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        from methods.layers.initial import set_frozen, set_heads
        from methods.layers.lowrank import attach_pairs
        from methods.layers.replica_linear import attach_heads, find_head_linears
        from methods.layers.resampling import attach_resampler
        from methods.requested import add_costs, collect_requested

        model.requires_grad_(False)
        set_frozen(model, [m.initial for m in members], {name for name, _ in find_head_linears(model)})
        # Replicas of a pack share results such as PiSSA's decomposition of the weight.
        memo: Memo = {}
        layouts = [prepare_replica(model, m, memo) for m in members]
        # before the heads: rows pass once, through the backbone alone, whatever the number of replicas
        requested, request_costs = collect_requested(model, layouts, calibration)
        head = attach_heads(model, [m.streams for m in members])
        for group in head.groups:  # a language model has none
            set_heads(group, [m.initial for m in members])
        scores, costs = measure_scores(model, layouts, calibration)
        chosen = [replica.masks(*reads) for replica, *reads in zip(layouts, scores, requested, strict=True)]
        # From here on the model has trained layers; scores need the plain ones.
        adapter = attach_pairs(model, [replica.pairs(masks) for replica, masks in zip(layouts, chosen, strict=True)])
        facts = [
            add_costs(request_cost, cost) | ({} if masks is None else {"trained_ratio": compute_trained_ratio(masks)})
            for request_cost, cost, masks in zip(request_costs, costs, chosen, strict=True)
        ]
        adapter.tell(facts)
        if any(replica.method.resample_interval for replica in layouts):
            attach_resampler(model, layouts, [m.steps for m in members], adapter)
        return adapter.join(head)


@dataclasses.dataclass
class ReplicaInit:
    """One replica before it is attached: its sites and the start values of A and B."""

    method: LowRank
    streams: Streams
    sites: list[Site]
    starts: dict[str, tuple[Tensor, Tensor]]

    def masks(self, scores: PerSite | None, requested: Mapping[str, Any] | None = None) -> Masks | None:
        """The trained entries; None where everything trains."""
        # members of the family that request nothing define `masks` without the fourth argument
        more = (requested,) if requested else ()
        return self.method.masks(self.sites, self.streams, scores, *more)

    def pairs(self, masks: Masks | None) -> dict[str, Pair]:
        """Pairs by site, without sites and ranks that have no effect: not trained, and zero."""
        all_pairs = {n: self.method.pair(s, None if masks is None else masks[n]) for n, s in self.starts.items()}
        alive = {name: pair.drop_dead_ranks() for name, pair in all_pairs.items()}
        return {name: pair for name, pair in alive.items() if len(pair.a)}


def prepare_replica(model: nn.Module, member: Member, memo: Memo) -> ReplicaInit:
    """The sites and start values of a member, with those of an initial adapter where it has one."""
    from methods.layers.initial import replace_factors

    method = as_low_rank(member.method)
    place = "sites", tuple(method.target), method.site_rank
    if place not in memo:
        memo[place] = find_sites(model, method.target, method.site_rank)
    sites: list[Site] = memo[place]
    starts = {s.name: method.start(s, model, member.streams, memo) for s in sites}
    if member.initial is not None:
        pairs = member.initial.pairs
        starts = {name: replace_factors(drawn, pairs.get(name), method.scale) for name, drawn in starts.items()}
    return ReplicaInit(method, member.streams, sites, starts)


def measure_scores(
    model: nn.Module, layouts: Sequence[ReplicaInit], calibration: Calibration
) -> tuple[list[PerSite | None], list[dict[str, float]]]:
    """The scores of each replica's strategy, and their cost for the record (seconds of the whole pack, rows)."""
    from methods.calibration import compute_gradient_scores, compute_weight_scores, sum_gradients

    began = time.perf_counter()
    kinds = [replica.method.score_kind() for replica in layouts]
    starts = [replica.starts for replica in layouts]
    # One pass with all K replicas serves every kind of gradient score; weights need no pass.
    passes = {i: starts[i] for i, kind in enumerate(kinds) if kind not in (None, "weight")}
    sums = sum_gradients(model, passes, len(layouts), calibration) if passes else {}
    scores: list[PerSite | None] = [None] * len(layouts)
    for i, kind in enumerate(kinds):
        if kind == "weight":
            scores[i] = compute_weight_scores(model, starts[i])
        elif kind is not None:
            scores[i] = compute_gradient_scores(kind, sums[i], starts[i])
    seconds, rows = time.perf_counter() - began, sum(len(labels) for _, labels in calibration.batches)
    return scores, [
        {"calibration_seconds": seconds, "calibration_rows": rows if i in passes else 0} if kind else {}
        for i, kind in enumerate(kinds)
    ]


def as_low_rank(method: Method) -> LowRank:
    """The method, typed as a member of the family; a pack never mixes families."""
    if not isinstance(method, LowRank):
        raise TypeError(f"{method.name} is not of the LoRA family")
    return method


def draw_factors(site: Site, streams: Streams, zero: Literal["a", "b"] = "b") -> tuple[Tensor, Tensor]:
    """A from Kaiming's uniform distribution (bound 1 / sqrt(d_in)) and B zero, as in peft.

    With zero="a", B is drawn (bound 1 / sqrt(d_out)) and A is zero. Ranks are rows of the draw, so the first ranks are
    equal at every rank.
    """
    import torch

    shape_a, shape_b = site.shapes
    a, b = torch.zeros(shape_a, dtype=torch.float64), torch.zeros(shape_b, dtype=torch.float64)
    drawn = a if zero == "b" else b.T
    uniform = torch.rand(drawn.shape, dtype=torch.float64, generator=streams.torch("init", site.name))
    drawn.copy_((2 * uniform - 1) / math.sqrt(drawn.shape[1]))
    return a, b
