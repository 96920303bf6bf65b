"""Choose forward passes that save less for the backward pass, by the type of a model."""

from __future__ import annotations

from torch import nn

from harness.data.task_types.base import Split


def install_lean_forward(model: nn.Module, split: Split) -> None:
    """Use lean modules where the model is a LLaMA; results equal those of transformers up to rounding."""
    if getattr(getattr(model, "config", None), "model_type", None) != "llama":
        return
    # imported here: it loads transformers' LLaMA, which no other model needs
    from harness.training.lean_llama import replace_modules

    replace_modules(model, causal_only=split.is_causal_padded)
