"""The output layer of a causal language model whose logits are a linear map of its backbone's last hidden states."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

LINEAR_HEADS = frozenset("llama mistral qwen2 qwen3 gpt2 gpt_neox opt".split())
"""Types of models without anything between the last hidden states and the logits but the output layer.

Others scale or cap logits (Gemma 2, Cohere, Granite). A test compares both ways for each type.
"""


class OutputLayer(NamedTuple):
    """`backbone` returns last_hidden_state [B, n, d]; `linear` maps it to logits [B, n, V]."""

    backbone: nn.Module
    linear: nn.Linear


def find_output_layer(model: Any) -> OutputLayer | None:
    """The output layer; None for other models, and where a wrapper or a hook would see the logits."""
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind not in LINEAR_HEADS or not type(model).__name__.endswith(("ForCausalLM", "LMHeadModel")):
        return None
    linear, backbone = model.get_output_embeddings(), model.base_model
    if type(linear) is not nn.Linear or backbone is model or any(map(_is_changed, (model, linear))):
        return None
    return OutputLayer(backbone, linear)


def _is_changed(module: nn.Module) -> bool:
    """Whether someone has replaced the forward method of a module, or watches its calls."""
    return "forward" in vars(module) or bool(module._forward_hooks) or bool(module._forward_pre_hooks)
