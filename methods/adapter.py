"""Bottleneck adapters (arXiv 1902.00751; one per block, after the feed-forward part, as in arXiv 2005.00247)."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from harness.core.bounds import Count
from harness.core.errors import UserError
from harness.core.method import METHODS, Calibration, Member, Method, Sourced, option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.core.seeds import Streams
    from harness.replicas.groups import Attached

# The second linear layer of the feed-forward part in BERT, DistilBERT, T5, BART, LLaMA, GPT-2, GPT-NeoX, ALBERT and
# ModernBERT. The number before `output.dense` keeps out `attention.output.dense` of BERT.
FEED_FORWARD_OUTPUT = re.compile(
    r"(\.\d+\.output\.dense|\.ffn\.lin2|\.wo|\.fc2|\.down_proj|\.mlp\.c_proj|\.dense_4h_to_h|\.ffn_output|\.mlp\.Wo)$"
)


@METHODS.register("adapter")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapter(Method):
    """`size` is the width of the bottleneck; its up-projection starts at zero, so training starts from the backbone."""

    size: Count = option(16, "width of the bottleneck")

    name: ClassVar[str] = "adapter"
    paper: ClassVar[str | None] = "arXiv 1902.00751"
    summary: ClassVar[str] = "a bottleneck after each block's feed-forward part"
    family: ClassVar[str | None] = "adapter"
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(3e-3),
        "small": Sourced(1e-3, "arXiv 1902.00751, within its grid"),
        "paper": Sourced(1e-3, "arXiv 1902.00751, within its grid"),
    }

    def pack_key(self) -> str:
        return f"adapter of size {self.size}"

    def fits(self, model: nn.Module) -> None:
        if not _find_feed_forward_outputs(model):
            raise UserError("adapter: this model has no feed-forward output layer that is known; use another method")

    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        from methods.layers.replica_linear import attach_heads, replace_module
        from methods.layers.replicas import Bottleneck, build_replica_group, wrap_group

        model.requires_grad_(False)
        streams = [m.streams for m in members]
        head = attach_heads(model, streams)
        places = _find_feed_forward_outputs(model)
        size = self.size
        parts = ("down", "down_bias", "up", "up_bias")
        # Default arguments bind the values of this iteration; a closure would see those of the last one.
        drawn = [
            (f"{name}.{part}", lambda s, n=name, d=width, part=part: init_bottleneck(s, n, part, size, d))
            for name, width in places.items()
            for part in parts
        ]
        group = build_replica_group(model, drawn, streams)
        for name in places:
            leaves = [group.leaves[f"{name}.{part}"] for part in parts]
            replace_module(model, name, Bottleneck(model.get_submodule(name), leaves))
        return wrap_group(group).join(head)


def _find_feed_forward_outputs(model: nn.Module) -> dict[str, int]:
    """Feed-forward output layers and their widths."""
    candidates = [(n, m) for n, m in model.named_modules() if FEED_FORWARD_OUTPUT.search(n)]
    return {
        # GPT-2's Conv1D names its output width `nf`.
        n: int(getattr(m, "out_features", 0) or m.nf)
        for n, m in candidates
        if hasattr(m, "out_features") or hasattr(m, "nf")
    }


def init_bottleneck(streams: Streams, place: str, part: str, size: int, width: int) -> Tensor:
    """down from Kaiming's uniform (bound 1 / sqrt(width)), the rest zero."""
    import torch

    shape = {"down": (size, width), "down_bias": (size,), "up": (width, size), "up_bias": (width,)}[part]
    if part != "down":
        return torch.zeros(shape)
    uniform = torch.rand(shape, dtype=torch.float64, generator=streams.torch("init", place))
    return (2 * uniform - 1) / math.sqrt(width)
