"""Export a replica's adapter and head with peft's configuration and tensor names."""

from __future__ import annotations

import copy
import math
from typing import Any

from torch import Tensor, nn

from harness.core.method import Exported
from harness.replicas.groups import Attached
from methods.layers.lowrank import LowRankLinear
from methods.layers.replica_linear import ReplicaLinear, get_lm_head


def get_peft_task_type(model: nn.Module) -> str:
    """peft's task type of a model: classifier, encoder-decoder or causal language model."""
    if get_lm_head(model) is None:
        return "SEQ_CLS"
    config: Any = model.config
    return "SEQ_2_SEQ_LM" if config.is_encoder_decoder else "CAUSAL_LM"


def export_head(model: nn.Module, slot: int) -> dict[str, Tensor]:
    """All tensors of the top-level modules that contain a trained head layer, by their names in the model.

    peft saves such a module as a whole, so tensors that do not train are included.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, ReplicaLinear)}
    tops = {name.partition(".")[0] for name in layers}
    tensors = {n: p for n, p in model.state_dict().items() if n.partition(".")[0] in tops}
    for name, layer in layers.items():
        tensors[f"{name}.weight"] = layer.weight_leaf.tensor[slot]
        if layer.bias_leaf is not None:
            tensors[f"{name}.bias"] = layer.bias_leaf.tensor[slot]
    return tensors


def build_export(config: Any, tensors: dict[str, Tensor], model: nn.Module, slot: int, prefix: str) -> Exported:
    """The adapter with its head; `prefix` is the path of the backbone in peft's model."""
    head_tensors = export_head(model, slot)
    config.task_type, config.inference_mode = get_peft_task_type(model), True
    if hasattr(config, "modules_to_save"):
        config.modules_to_save = sorted({name.partition(".")[0] for name in head_tensors}) or None
    every = tensors | {prefix + name: value for name, value in head_tensors.items()}
    return Exported(config, {name: value.detach().cpu().clone().contiguous() for name, value in every.items()})


def export_lora(model: nn.Module, slot: int, *, rank: int, dropout: float, rslora: bool) -> Exported:
    """Dense A and B of each site as plain LoRA, without ranks in which both are zero (padding of a pack)."""
    from peft import LoraConfig

    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alpha: Any = 1.0
    alphas: dict[str, Any] = {}  # peft accepts floats, although its annotations say int
    for name, layer in model.named_modules():
        if not isinstance(layer, LowRankLinear):
            continue
        a, b = layer.a.dense()[slot], layer.b.dense()[slot]
        # A pack pads to the largest rank; a rank with both factors zero is padding.
        alive = (a != 0).any(1) | (b != 0).any(0)
        if not bool(alive.any()):
            continue
        ranks[name] = int(alive.sum())
        alphas[name] = _compute_alpha(float(layer.scales[slot]), ranks[name], rslora)
        tensors[f"base_model.model.{name}.lora_A.weight"] = a[alive]
        tensors[f"base_model.model.{name}.lora_B.weight"] = b[:, alive]
        alpha = _compute_alpha(float(layer.scales[slot]), rank, rslora)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=sorted(ranks),
        rank_pattern={n: r for n, r in ranks.items() if r != rank},
        alpha_pattern={n: x for n, x in alphas.items() if x != alpha},
        use_rslora=rslora,
    )
    return build_export(config, tensors, model, slot, "base_model.model.")


def _compute_alpha(scale: float, rank: int, rslora: bool) -> float:
    """The alpha that gives a scale, rounded because the scale was divided by the rank before."""
    return round(scale * (math.sqrt(rank) if rslora else rank), 12)


def export_tuner(model: nn.Module, attached: Attached) -> Exported:
    """The tensors that peft itself would save; ranks that AdaLoRA pruned are zeros."""
    from peft import get_peft_model_state_dict

    config = copy.copy(attached.tuner.peft_config["default"])
    # Without a rank pattern peft saves and loads all ranks, the pruned ones as zeros.
    if config.peft_type == "ADALORA":
        config.rank_pattern = None
    tensors = get_peft_model_state_dict(_AsPeftModel(attached.tuner, config))
    return build_export(config, tensors, model, 0, "base_model.model.")


class _AsPeftModel(nn.Module):
    """A tuner at its place in peft's own model, because tensor names contain that place."""

    def __init__(self, tuner: nn.Module, config: Any) -> None:
        super().__init__()
        self.base_model, self.peft_config = tuner, {"default": config}


def export_virtual_tokens(kind: type[Any], values: Tensor, model: nn.Module, slot: int, heads: int = 0) -> Exported:
    """A prompt or prefix; `values` [tokens, numbers per token] is the table that peft's model looks up.

    `heads` is the number of key heads of a prefix, 0 for a prompt.
    """
    config: Any = model.config
    peft_config = kind(
        task_type=get_peft_task_type(model),
        num_virtual_tokens=len(values),
        token_dim=values.shape[1] // (2 * config.num_hidden_layers) if heads else values.shape[1],
        num_layers=config.num_hidden_layers,
        num_attention_heads=heads or config.num_attention_heads,
        num_transformer_submodules=1,
    )
    return build_export(peft_config, {"prompt_embeddings": values}, model, slot, "base_model.")
