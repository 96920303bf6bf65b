"""The LoRA family: shared options, the sites they name, and how its members attach as one pack."""

from __future__ import annotations

import abc
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from harness.contracts import Masks, Member, Method, Site, Sourced
from harness.errors import UserError
from harness.seeds import Streams

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.groups import Attached
    from methods.layers.lowrank import Pair

# what the field calls query, key and value, and what the encoders of transformers call them
ALIASES: Mapping[str, frozenset[str]] = {
    "query": frozenset({"query", "query_proj", "q_proj", "q_lin"}),
    "key": frozenset({"key", "key_proj", "k_proj", "k_lin"}),
    "value": frozenset({"value", "value_proj", "v_proj", "v_lin"}),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRank(Method):
    """Options that every member of the family shares."""

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    target: tuple[str, ...] = ("query", "value")

    family: ClassVar[str | None] = "lowrank"
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(3e-3, "grid of four on the embedded tasks' dev sets"),
        "small": Sourced(5e-4, "arXiv 2106.09685, RoBERTa-base on GLUE (5e-4)"),
        "paper": Sourced(5e-4, "arXiv 2106.09685, RoBERTa-base on GLUE (5e-4)"),
    }

    def check(self) -> None:
        if self.rank < 1:
            raise UserError(f"rank={self.rank}: allowed: a whole number of 1 or more")
        if not self.alpha > 0:
            raise UserError(f"alpha={self.alpha}: allowed: a number above 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout={self.dropout}: allowed: from 0 up to, not including, 1")
        if not self.target:
            raise UserError("target is empty: name linear layers, e.g. target=query+value")

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def fits(self, model: nn.Module) -> None:
        for site in find_sites(model, self.target, self.rank):
            if self.rank > min(site.d_in, site.d_out):
                width = f"{site.d_in} to {site.d_out}"
                raise UserError(
                    f"rank={self.rank}: {site.name} maps {width}; allowed: {min(site.d_in, site.d_out)} at most"
                )

    @abc.abstractmethod
    def masks(self, sites: Sequence[Site], streams: Streams) -> Masks | None:
        """What trains at each site; None: every entry."""

    def pairs(self, model: nn.Module, streams: Streams) -> dict[str, Pair]:
        """Fresh A and B for each site of the model, with masks."""
        import numpy as np

        from methods.layers.lowrank import Pair

        sites = find_sites(model, self.target, self.rank)
        masks = self.masks(sites, streams)
        made = {}
        for site in sites:
            a, b = start_values(site, streams)
            if masks is None:
                train_a, train_b = (np.ones(shape, bool) for shape in site.shapes)
            else:
                train_a, train_b = masks[site.name]
            made[site.name] = Pair(a, b, train_a, train_b, self.scale, self.dropout)
        return made

    def attach(self, model: nn.Module, members: Sequence[Member]) -> Attached:
        from methods.layers.lowrank import attach_pairs
        from methods.layers.replica_linear import attach_heads

        model.requires_grad_(False)
        members_pairs = [low_rank(m.method).pairs(model, m.streams) for m in members]
        adapter = attach_pairs(model, members_pairs)
        head = attach_heads(model, [m.streams for m in members])
        return adapter.join(head)


def low_rank(method: Method) -> LowRank:
    """The method as a member of the family; a pack never mixes families."""
    if not isinstance(method, LowRank):
        raise TypeError(f"{method.name} is not of the LoRA family")
    return method


def find_sites(model: nn.Module, target: Sequence[str], rank: int) -> list[Site]:
    """The backbone's linear layers that `target` names, in module order. Raises UserError for a name without one."""
    from torch import nn

    from methods.layers.replica_linear import head_linears

    heads = {name for name, _ in head_linears(model)}
    linears = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear) and n not in heads]
    wanted = {name: ALIASES.get(name, frozenset({name})) for name in target}
    have = {n.rpartition(".")[2] for n, _ in linears}
    for name, aliases in wanted.items():
        if not aliases & have:
            raise UserError(f"target={name}: this model has no such linear layer; it has: {', '.join(sorted(have))}")
    names = frozenset().union(*wanted.values())
    chosen = [(n, m) for n, m in linears if n.rpartition(".")[2] in names]
    return [Site(n, m.in_features, m.out_features, rank, _layer(n)) for n, m in chosen]


def _layer(path: str) -> int:
    """The number of the block that a module path lies in; -1 outside of any."""
    found = re.search(r"\.(\d+)(?:\.|$)", path)
    return int(found.group(1)) if found else -1


def start_values(site: Site, streams: Streams) -> tuple[Tensor, Tensor]:
    """A from Kaiming's uniform (bound 1 / sqrt(d_in)), B zero; the first rows of A are the same at each rank."""
    import torch

    shape_a, shape_b = site.shapes
    a = torch.rand(shape_a, dtype=torch.float64, generator=streams.torch("init", site.name))
    return (2 * a - 1) / math.sqrt(site.d_in), torch.zeros(shape_b, dtype=torch.float64)
