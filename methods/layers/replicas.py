"""Layers that add trainable parameters of K replicas to frozen ones: biases, bottlenecks, prompts, prefixes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.core.errors import CellFailed
from harness.core.seeds import Streams
from harness.replicas.groups import Attached, Leaf, ParameterGroup
from methods.layers.replica_linear import get_trained_dtype

Initializer = Callable[[Streams], Tensor]


def build_replica_group(
    model: nn.Module, named: Sequence[tuple[str, Initializer]], streams: Sequence[Streams]
) -> ParameterGroup:
    """The group "adapter" of K replicas, initialized from each replica's own streams."""
    device, dtype = next(model.parameters()).device, get_trained_dtype(model)
    values = [(name, torch.stack(list(map(draw, streams))).to(device, dtype)) for name, draw in named]
    count = sum(v[0].numel() for _, v in values)
    undecayed = frozenset(name for name, _ in named if name.endswith("bias"))
    return ParameterGroup("adapter", values, [count] * len(streams), undecayed=undecayed)


def wrap_group(group: ParameterGroup, model: nn.Module | None = None) -> Attached:
    return Attached([group], stored=[0] * len(group.counts), model=model)


def check_rows(x: Tensor, k: int) -> None:
    """Raise CellFailed where the rows of x do not belong to K replicas.

    DeBERTa passes its table of relative positions, which all replicas share, through query and key layers.
    """
    if k > 1 and (x.shape[0] % k or isinstance(x, nn.Parameter)):
        raise CellFailed("a trained layer reads what all replicas share, so each has to train alone")


class ShiftedBias(nn.Module):
    """base(x) + shift[k]: the bias trains as a difference to the frozen one, equivalent without weight decay."""

    def __init__(self, base: nn.Module, shift: Leaf) -> None:
        super().__init__()
        self.base, self.shift = base, shift

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        shift = self.shift.tensor
        check_rows(x, len(shift))
        # [K*B, T, d] as [K, B*T, d], so that the shift [K, 1, d] of a replica goes to all of its rows.
        return (y.view(len(shift), -1, y.shape[-1]) + shift[:, None].to(y.dtype)).view(y.shape)


class Bottleneck(nn.Module):
    """base(x) + up(gelu(down(base(x)))) with down [K, size, d] and up [K, d, size], both with biases."""

    def __init__(self, base: nn.Module, leaves: Sequence[Leaf]) -> None:
        super().__init__()
        self.base, self.leaves = base, list(leaves)

    @property
    def weight(self) -> Any:
        """The wrapped layer's weight, whose dtype T5 reads."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        down, down_bias, up, up_bias = (leaf.tensor.to(y.dtype) for leaf in self.leaves)
        rows = y.reshape(len(down), -1, y.shape[-1])
        inner = nn.functional.gelu(torch.baddbmm(down_bias[:, None], rows, down.transpose(1, 2)))
        return y + torch.baddbmm(up_bias[:, None], inner, up.transpose(1, 2)).view(y.shape)


def _repeat_per_row(leaf: Leaf, rows: int, dtype: torch.dtype) -> Tensor:
    """The values [K, ...] as [rows, ...]: each replica's value for each of its rows."""
    values = leaf.tensor
    return values.repeat_interleave(rows // len(values), 0).to(dtype)


def _extend_mask(mask: Tensor, count: int, fill: int) -> Tensor:
    return torch.cat([mask.new_full((len(mask), count), fill), mask], 1)


class PromptTunedModel(nn.Module):
    """The model with trained vectors [K, n, d] in front of its word embeddings, as in peft's prompt tuning."""

    def __init__(self, model: nn.Module, prompt: Leaf) -> None:
        super().__init__()
        self.inner, self.prompt = model, prompt

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        count = self.prompt.shape[0]
        more = {} if token_type_ids is None else {"token_type_ids": _extend_mask(token_type_ids, count, 0)}
        output = self.inner(**self._prepend_prompt(input_ids, attention_mask), **more)
        # For a language model, only logits at the caller's positions.
        if output.logits.dim() == 3:
            output.logits = output.logits[:, count:]
        return output

    def generate(self, input_ids: Tensor, attention_mask: Tensor, **more: Any) -> Tensor:
        """As transformers' `generate` of a causal model: the prompt's tokens, then the generated ones."""
        ids: Tensor = self.inner.generate(**self._prepend_prompt(input_ids, attention_mask), **more)  # type: ignore[operator]
        # From embeddings, transformers returns new tokens only.
        return torch.cat([input_ids, ids], 1)

    def _prepend_prompt(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        words = self.inner.get_input_embeddings()(input_ids)  # type: ignore[operator]
        prompt = _repeat_per_row(self.prompt, len(words), words.dtype)
        mask = _extend_mask(attention_mask, self.prompt.shape[0], 1)
        return {"inputs_embeds": torch.cat([prompt, words], 1), "attention_mask": mask}


class PrefixTunedModel(nn.Module):
    """The model with trained keys and values [K, layers, 2, heads, n, d / heads] in front of those of each layer."""

    def __init__(self, model: nn.Module, prefix: Leaf) -> None:
        super().__init__()
        self.inner, self.prefix = model, prefix

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **more: Tensor) -> Any:
        from transformers import DynamicCache

        prefix = _repeat_per_row(self.prefix, len(input_ids), next(self.inner.parameters()).dtype)
        cache = DynamicCache()
        for layer in range(prefix.shape[1]):
            cache.update(prefix[:, layer, 0], prefix[:, layer, 1], layer)
        mask = _extend_mask(attention_mask, prefix.shape[-2], 1)
        return self.inner(input_ids=input_ids, attention_mask=mask, past_key_values=cache, **more)
