"""Prefix tuning (arXiv 2101.00190): trained keys and values in front of those of each layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.bounds import Count
from harness.core.errors import NotApplicable
from harness.core.method import METHODS, Calibration, Exported, Member, Method, Sourced, option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.core.seeds import Streams
    from harness.replicas.groups import Attached


@METHODS.register("prefix")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Prefix(Method):
    """`tokens` keys and values per layer, drawn from N(0, 1) as in peft, without reparametrization."""

    tokens: Count = option(10, "virtual tokens: trained keys and values per layer")

    name: ClassVar[str] = "prefix"
    paper: ClassVar[str | None] = "arXiv 2101.00190"
    summary: ClassVar[str] = "trained keys and values before those of each layer"
    family: ClassVar[str | None] = "prefix"
    starts_at_base: ClassVar[bool] = False
    exports: ClassVar[bool] = True
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(1e-2),
        "small": Sourced(1e-2),
        "paper": Sourced(1e-2),
    }

    def fits(self, model: nn.Module) -> None:
        from methods.layers.replica_linear import find_head_linears

        kind = str(getattr(model.config, "model_type", ""))
        if kind not in ("bert", "roberta", "xlm-roberta", "electra", "llama"):
            raise NotApplicable(f"prefix: models of type '{kind}' accept no past keys and values; use bert or roberta")
        if find_head_linears(model) == []:
            raise NotApplicable("prefix: a language model generates with its own key-value cache; use lora")

    def pack_key(self) -> str:
        return f"prefix of {self.tokens} tokens"

    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        from methods.layers.replica_linear import attach_heads
        from methods.layers.replicas import PrefixTunedModel, build_replica_group, wrap_group

        model.requires_grad_(False)
        streams = [m.streams for m in members]
        head = attach_heads(model, streams)
        group = build_replica_group(model, [("prefix", lambda s: self.start(s, model.config))], streams)
        return wrap_group(group, PrefixTunedModel(model, group.leaves["prefix"])).join(head)

    def export(self, model: nn.Module, attached: Attached, slot: int) -> Exported:
        """peft stores one row [layers * 2 * d] per token."""
        from peft import PrefixTuningConfig

        from methods.layers.exporting import export_virtual_tokens

        # [layers, 2, heads, tokens, width] -> [tokens, layers * 2 * heads * width]
        values = attached.groups[0].leaves["prefix"].tensor[slot].permute(3, 0, 1, 2, 4).reshape(self.tokens, -1)
        return export_virtual_tokens(PrefixTuningConfig, values, model, slot, get_key_heads(model.config)[0])

    def start(self, streams: Streams, config: Any) -> Tensor:
        """Keys and values [layers, 2, heads, tokens, width of a head]."""
        import torch

        heads, width = get_key_heads(config)
        shape = (config.num_hidden_layers, 2, heads, self.tokens, width)
        return torch.randn(shape, dtype=torch.float64, generator=streams.torch("init", "prefix"))


def get_key_heads(config: Any) -> tuple[int, int]:
    """(number of key and value heads, width of a head); grouped-query attention has fewer of them than query heads."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads, width
