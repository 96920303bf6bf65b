"""The modules of LLaMA's blocks with forward passes that save less for the backward pass; weights stay where they are.

    LlamaRMSNorm    saves its input; its readers compute the result again
    LlamaMLP        saves gate and up; down_proj computes their product again
    LlamaAttention  rotates query and key in one kernel, and needs no mask where padding comes last

Only passes that autograd records use them: evaluation and generation stay those of transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaMLP,
    LlamaRMSNorm,
    eager_attention_forward,
)

from harness.replicas.lean_ops import gate_values, get_kernels, normalize, rotate


class LeanRMSNorm(LlamaRMSNorm):
    def forward(self, hidden_states: Tensor) -> Tensor:
        dtype = hidden_states.dtype
        # transformers computes the norm of a float64 model in float32
        if not torch.is_grad_enabled() or dtype != self.weight.dtype or dtype == torch.float64:
            plain: Tensor = super().forward(hidden_states)
            return plain
        return normalize(hidden_states, self.weight, self.variance_epsilon)


class LeanMLP(LlamaMLP):
    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            plain: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return plain
        gate, up = self.gate_proj(x), self.up_proj(x)
        product = gate_values(gate, up) if gate.dtype == up.dtype else self.act_fn(gate) * up
        down: Tensor = self.down_proj(product)
        return down


class LeanAttention(LlamaAttention):
    causal_only: bool

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        records = torch.is_grad_enabled() and past_key_values is None
        if records and self.causal_only and self.config._attn_implementation == "sdpa":
            attention_mask = None  # sdpa is then causal by itself
        if not records or get_kernels("rope", hidden_states) is None:
            plain: tuple[Tensor, Tensor | None] = super().forward(
                hidden_states,
                position_embeddings=position_embeddings,
                attention_mask=attention_mask,
                past_key_values=past_key_values,
                **kwargs,
            )
            return plain
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key, value = (
            layer(hidden_states).view(shape).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        assert position_embeddings is not None
        query, key = rotate(query, key, *position_embeddings)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        heads, weights = attend(self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs)
        return self.o_proj(heads.reshape(*hidden_states.shape[:-1], -1)), weights


LEAN: dict[type[nn.Module], type[nn.Module]] = {
    LlamaRMSNorm: LeanRMSNorm,
    LlamaMLP: LeanMLP,
    LlamaAttention: LeanAttention,
}


def replace_modules(model: nn.Module, *, causal_only: bool) -> None:
    """Give LLaMA's modules their lean classes. `causal_only`: rows are padded at the end and not packed."""
    for module in model.modules():
        lean = LEAN.get(type(module))
        if isinstance(module, LlamaMLP) and module.config.hidden_act not in ("silu", "swish"):
            continue
        if lean is not None:
            # the class and not the method: a method set on the module would be a cycle that holds the weights
            module.__class__ = lean
        if isinstance(module, LeanAttention):
            module.causal_only = causal_only
