"""LoRA-SP (arXiv 2403.08822): LoRA in which a part of the entries of A and B is frozen, by default a random half."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Interval

from harness.core.errors import NotApplicable, UserError
from harness.core.method import METHODS, STRATEGIES, Masks, PerSite, Scope, ScoreKind, Site, Strategy, option
from harness.core.quantization import build_quantization_part, list_vector_types
from harness.core.seeds import Streams
from methods.lowrank import LowRank, Memo, draw_factors
from methods.masks import build_masks, count_share, select_highest
from methods.sites import find_sites

if TYPE_CHECKING:
    from torch import Tensor, nn

    from methods.layers.pair import Pair


@METHODS.register("lorasp")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraSP(LowRank):
    """A share `ratio` of the entries trains, selected by the strategy `select`; the others are frozen.

    `scope` is where the share is exact, and `zero` the matrix that starts at zero; auto takes both from the strategy.
    `frozen` is the storage of frozen entries: block-wise codes of 8 or 4 bits, or floating point. `held` is their
    value: as initialized, or zero, with which the product loses the random inputs of A that do not train. Every
    `resample` steps (0: never) the mask is resampled: entries keep their values, and the adapter's moments restart from
    zero.
    """

    select: str = option("random", "strategy that selects the trained entries", STRATEGIES.names)
    ratio: Annotated[float, Interval(gt=0, le=1)] = option(0.5, "share of the entries of A and B that train")
    scope: Literal["auto", "matrix", "pair", "model"] = option(
        "auto", "where the share is exact: each matrix, each pair or the whole model; auto: the strategy's"
    )
    zero: Literal["auto", "a", "b"] = option(
        "auto", "the matrix that starts at zero (the other starts random); auto: the strategy's"
    )
    frozen: str = option("none", "quantization type of the frozen entries", list_vector_types)
    held: Literal["initial", "zero"] = option(
        "initial", "value of frozen entries: as initialized, or zero (the mask is selected before)"
    )
    resample: Annotated[int, Ge(0)] = option(0, "resample the mask every so many steps; 0: never")

    name: ClassVar[str] = "lorasp"
    paper: ClassVar[str | None] = "arXiv 2403.08822"
    summary: ClassVar[str] = "LoRA with a random half of the entries of A and B frozen"
    paper_options: ClassVar[Mapping[str, Any]] = {"target": ("query", "key", "value")}

    def check(self) -> None:
        super().check()
        if self.strategy.twins and self.ratio != 0.5:
            raise NotApplicable(f"select={self.select} with ratio={self.ratio}: complementary masks need ratio=0.5")
        if self.strategy.half_only and (self.ratio != 0.5 or self.effective_scope != self.strategy.scope):
            raise NotApplicable(
                f"select={self.select} with ratio={self.ratio}, scope={self.effective_scope}: one whole matrix of each"
                f" site trains, whatever its size; use ratio=0.5 and scope={self.strategy.scope}"
            )
        # Where the strategy trains only the matrix opposite to the one at zero, B A stays zero and no gradient flows.
        other = "ab".replace(self.strategy.trains or "", "")
        if self.strategy.trains and self.zero == other and self.ratio <= 0.5:
            raise NotApplicable(
                f"select={self.select} with zero={other}: {other.upper()} at zero never trains, so nothing is learned;"
                f" use zero={self.strategy.trains} or auto"
            )
        if self.frozen not in list_vector_types():
            raise UserError(f"frozen={self.frozen}: allowed: {', '.join(list_vector_types())}")
        # Packed storage has a fixed number of trained entries per matrix, and scores and what strategies request exist
        # for the start values only.
        if self.resample and (self.strategy.reads_model or self.effective_scope != "matrix"):
            raise NotApplicable(
                f"resample={self.resample} with select={self.select}, scope={self.effective_scope}: a resampled mask"
                " needs a strategy that reads neither scores nor the model, and the share exact in each matrix"
                " (scope=matrix)"
            )
        if self.held == "zero":
            self._check_zero_held()

    def check_initial(self) -> None:
        super().check_initial()
        if self.held == "zero":
            raise NotApplicable("held=zero cannot start from --init-from: the adapter's frozen entries would be lost")

    def _check_zero_held(self) -> None:
        """Raise NotApplicable where entries at zero would leave nothing to learn, or would have trained before."""
        # Outside of scope=matrix a whole matrix may be frozen; at zero the product and all gradients would stay zero.
        if self.effective_scope != "matrix":
            raise NotApplicable(
                f"held=zero with select={self.select}, scope={self.effective_scope}: a matrix that is frozen as a whole"
                " would stay at zero; it needs a share that is exact in each matrix (scope=matrix)"
            )
        if self.resample:
            raise NotApplicable(
                f"held=zero with resample={self.resample}: an entry that trained until now keeps its value; use"
                " resample=0 or held=initial"
            )

    @property
    def strategy(self) -> Strategy:
        return STRATEGIES.get(self.select)

    def strategies(self) -> tuple[str, ...]:
        return (self.select,)

    def parts(self) -> dict[str, str]:
        drawn = self.strategy.unit == "entry" and not self.strategy.reads_model
        # Version 1 drew numbers up to each matrix's size, so that across matrices the larger one trained alone.
        scope = {"scope": "2"} if drawn and self.effective_scope != "matrix" else {}
        return scope | build_quantization_part(self.frozen)

    def pack_key(self) -> str | None:
        return self.family if self.frozen == "none" else f"{self.family} {self.frozen}"

    @property
    def effective_scope(self) -> Scope:
        return self.strategy.scope if self.scope == "auto" else self.scope

    def fits(self, model: nn.Module) -> None:
        super().fits(model)
        if self.frozen != "none" and importlib.util.find_spec("bitsandbytes") is None:
            raise UserError(f"frozen={self.frozen} needs bitsandbytes: pip install 'lorasp-harness[quant]'")
        sites = find_sites(model, self.target, self.rank)
        if self.strategy.unit != "entry":
            # How many whole rows, ranks or layers train does not depend on the scores, so ones stand in for them.
            ones = {s.name: (np.ones(s.shapes[0]), np.ones(s.shapes[1])) for s in sites}
            if not self.strategy.requests:
                scores = ones if self.score_kind() else None
                build_masks(self.strategy, sites, self.ratio, self.effective_scope, Streams({"mask": 0}), scores)
            elif self.strategy.unit != "block":  # which entries are one block only the values show, at `attach`
                select_highest(ones, sites, self.ratio, self.effective_scope, self.strategy.unit)
            return
        matrix_sizes = [math.prod(shape) for site in sites for shape in site.shapes]
        pair_sizes = [site.rank * (site.d_in + site.d_out) for site in sites]
        sizes = {"matrix": matrix_sizes, "pair": pair_sizes, "model": [sum(pair_sizes)]}
        # Raises where the share rounds to no entry, before any training.
        for size in sizes[self.effective_scope]:
            count_share(size, self.ratio)

    def score_kind(self) -> ScoreKind | None:
        return self.strategy.scores

    def requests(self) -> tuple[str, ...]:
        return self.strategy.requests

    def masks(
        self,
        sites: Sequence[Site],
        streams: Streams,
        scores: PerSite | None,
        requested: Mapping[str, Any] | None = None,
    ) -> Masks | None:
        scope = self.effective_scope
        return build_masks(self.strategy, sites, self.ratio, scope, streams, scores, requested=requested)

    @property
    def resample_interval(self) -> int:
        return self.resample

    def resample_masks(self, sites: Sequence[Site], streams: Streams, draw: int) -> Masks:
        return build_masks(self.strategy, sites, self.ratio, self.effective_scope, streams, None, draw)

    def pair(self, start: tuple[Tensor, Tensor], masks: tuple[np.ndarray, np.ndarray] | None) -> Pair:
        pair = dataclasses.replace(super().pair(start, masks), frozen=self.frozen, moves=bool(self.resample))
        return pair.clear_frozen() if self.held == "zero" else pair

    def start(self, site: Site, model: nn.Module, streams: Streams, memo: Memo) -> tuple[Tensor, Tensor]:
        zero = self.strategy.zero if self.zero == "auto" else self.zero
        return draw_factors(site, streams, zero)
