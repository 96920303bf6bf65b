"""Models of a known shape with random weights, for plans, profiles and benches without downloaded weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from harness.core.errors import build_unknown_error

SHAPE = "shape:"
"""Prefix of their names: --model shape:roberta-base; shape:roberta-base@FOLDER takes the tokenizer of a folder."""


@dataclasses.dataclass(frozen=True)
class ModelShape:
    """A configuration of transformers: the model type, and the fields that differ from that type's defaults."""

    kind: str
    fields: Mapping[str, Any]


def _build_bert(layers: int, hidden: int, heads: int, inner: int) -> ModelShape:
    return ModelShape("bert", _build_encoder_fields(layers, hidden, heads, inner) | {"vocab_size": 30522})


def _build_roberta(layers: int, hidden: int, heads: int, inner: int) -> ModelShape:
    fields = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return ModelShape("roberta", _build_encoder_fields(layers, hidden, heads, inner) | fields)


def _build_encoder_fields(layers: int, hidden: int, heads: int, inner: int) -> dict[str, Any]:
    widths = {"hidden_size": hidden, "intermediate_size": inner}
    return {"num_hidden_layers": layers, "num_attention_heads": heads, **widths}


def _build_t5(layers: int, hidden: int, heads: int, inner: int) -> ModelShape:
    fields = {"num_layers": layers, "num_decoder_layers": layers, "d_model": hidden, "num_heads": heads, "d_ff": inner}
    return ModelShape("t5", fields | {"d_kv": 64, "vocab_size": 32128, "decoder_start_token_id": 0})


def _build_llama(layers: int, hidden: int, heads: int, inner: int, groups: int, vocabulary: int = 32000) -> ModelShape:
    fields = _build_encoder_fields(layers, hidden, heads, inner) | {
        "num_key_value_heads": groups,
        "vocab_size": vocabulary,
    }
    return ModelShape("llama", fields | {"max_position_embeddings": 2048, "pad_token_id": 0})


SHAPES: Mapping[str, ModelShape] = {
    "minilm": _build_bert(6, 384, 12, 1536),
    "bert-base": _build_bert(12, 768, 12, 3072),
    "roberta-base": _build_roberta(12, 768, 12, 3072),
    "roberta-large": _build_roberta(24, 1024, 16, 4096),
    "t5-small": _build_t5(6, 512, 8, 2048),
    "t5-base": _build_t5(12, 768, 12, 3072),
    "llama-tiny": _build_llama(2, 64, 4, 176, 2, 512),
    "llama-1b": _build_llama(16, 2048, 32, 8192, 8, 128256),
    "llama-3b": _build_llama(28, 3072, 24, 8192, 8, 128256),
    "llama-7b": _build_llama(32, 4096, 32, 11008, 32),
    "llama-13b": _build_llama(40, 5120, 40, 13824, 40),
    "llama-30b": _build_llama(60, 6656, 52, 17920, 52),
}
"""By name. llama-1b and -3b are Llama 3.2; -7b, -13b and -30b (called 33B there) are of arXiv 2302.13971.

llama-tiny is no published model; a step of it takes milliseconds on a CPU.
"""


def get_shape(name: str) -> ModelShape:
    """The shape called `name`. Raises UserError with the nearest name."""
    if name not in SHAPES:
        raise build_unknown_error("model shape", name, SHAPES)
    return SHAPES[name]


def count_llama_parameters(fields: Mapping[str, Any]) -> int:
    """The parameters of a LLaMA with these fields of its configuration and an output layer of its own."""
    width, inner, heads = fields["hidden_size"], fields["intermediate_size"], fields["num_attention_heads"]
    key_width = width // heads * fields["num_key_value_heads"]
    block = 2 * width * width + 2 * width * key_width + 3 * width * inner + 2 * width
    return int(2 * fields["vocab_size"] * width + fields["num_hidden_layers"] * block + width)


def build_shape_config(name: str, own: Mapping[str, Any]) -> Any:
    """The configuration of transformers for a shape, with further fields (num_labels). Raises UserError."""
    from transformers import AutoConfig

    model_shape = get_shape(name)
    return AutoConfig.for_model(model_shape.kind, **model_shape.fields, **own)
