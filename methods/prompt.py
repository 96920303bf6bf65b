"""Prompt tuning (arXiv 2104.08691): trained vectors in front of the word embeddings."""

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


@METHODS.register("prompt")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt(Method):
    """`tokens` vectors that start from embeddings of random words; the input grows by as many positions."""

    tokens: Count = option(10, "virtual tokens: trained vectors before the input")

    name: ClassVar[str] = "prompt"
    paper: ClassVar[str | None] = "arXiv 2104.08691"
    summary: ClassVar[str] = "trained vectors before the word embeddings"
    family: ClassVar[str | None] = "prompt"
    starts_at_base: ClassVar[bool] = False
    exports: ClassVar[bool] = True
    learning_rates: ClassVar[Mapping[str, Sourced]] = {
        "quick": Sourced(1e-2),
        "small": Sourced(1e-2),
        "paper": Sourced(1e-2),
    }

    def fits(self, model: nn.Module) -> None:
        if getattr(model.config, "is_encoder_decoder", False):
            raise NotApplicable("prompt: an encoder-decoder has two inputs, and a prompt goes before one; use lora")

    def pack_key(self) -> str:
        return f"prompt of {self.tokens} tokens"

    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        from methods.layers.replica_linear import attach_heads
        from methods.layers.replicas import PromptTunedModel, build_replica_group, wrap_group

        model.requires_grad_(False)
        streams = [m.streams for m in members]
        head = attach_heads(model, streams)
        words: Any = model.get_input_embeddings()  # type: ignore[operator]
        group = build_replica_group(model, [("prompt", lambda s: self.start(s, words.weight))], streams)
        return wrap_group(group, PromptTunedModel(model, group.leaves["prompt"])).join(head)

    def export(self, model: nn.Module, attached: Attached, slot: int) -> Exported:
        from peft import PromptTuningConfig

        from methods.layers.exporting import export_virtual_tokens

        values = attached.groups[0].leaves["prompt"].tensor[slot]
        return export_virtual_tokens(PromptTuningConfig, values, model, slot)

    def start(self, streams: Streams, words: Tensor) -> Tensor:
        """Embeddings of random words [tokens, d]."""
        import torch

        # On the CPU, so the same seed chooses the same words on every device.
        chosen = torch.randint(len(words), (self.tokens,), generator=streams.torch("init", "prompt"))
        return words[chosen.to(words.device)].detach().double().cpu()
