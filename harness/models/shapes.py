"""Models of a known shape with random weights: for plans, profiles and benches, where no weights are at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from harness.core.errors import unknown

SHAPE = "shape:"
"""Leads the names of such models: --model shape:roberta-base, or shape:roberta-base@FOLDER for its tokenizer."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """A configuration of transformers: its model type and the fields that differ from that type's defaults."""

    kind: str
    fields: Mapping[str, Any]


def _bert(layers: int, hidden: int, heads: int, inner: int) -> Shape:
    return Shape("bert", _encoder(layers, hidden, heads, inner) | {"vocab_size": 30522})


def _roberta(layers: int, hidden: int, heads: int, inner: int) -> Shape:
    own = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return Shape("roberta", _encoder(layers, hidden, heads, inner) | own)


def _encoder(layers: int, hidden: int, heads: int, inner: int) -> dict[str, Any]:
    widths = {"hidden_size": hidden, "intermediate_size": inner}
    return {"num_hidden_layers": layers, "num_attention_heads": heads, **widths}


def _t5(layers: int, hidden: int, heads: int, inner: int) -> Shape:
    fields = {"num_layers": layers, "num_decoder_layers": layers, "d_model": hidden, "num_heads": heads, "d_ff": inner}
    return Shape("t5", fields | {"d_kv": 64, "vocab_size": 32128, "decoder_start_token_id": 0})


def _llama(layers: int, hidden: int, heads: int, inner: int, groups: int, vocabulary: int = 32000) -> Shape:
    fields = _encoder(layers, hidden, heads, inner) | {"num_key_value_heads": groups, "vocab_size": vocabulary}
    return Shape("llama", fields | {"max_position_embeddings": 2048, "pad_token_id": 0})


SHAPES: Mapping[str, Shape] = {
    "minilm": _bert(6, 384, 12, 1536),
    "bert-base": _bert(12, 768, 12, 3072),
    "roberta-base": _roberta(12, 768, 12, 3072),
    "roberta-large": _roberta(24, 1024, 16, 4096),
    "t5-small": _t5(6, 512, 8, 2048),
    "t5-base": _t5(12, 768, 12, 3072),
    "llama-1b": _llama(16, 2048, 32, 8192, 8, 128256),
    "llama-3b": _llama(28, 3072, 24, 8192, 8, 128256),
    "llama-7b": _llama(32, 4096, 32, 11008, 32),
    "llama-13b": _llama(40, 5120, 40, 13824, 40),
    "llama-30b": _llama(60, 6656, 52, 17920, 52),
}
"""By name; llama-1b and -3b are those of Llama 3.2, -7b, -13b and -30b (33B there) those of arXiv 2302.13971."""


def shape(name: str) -> Shape:
    """The shape called `name`. Raises UserError with the nearest name."""
    if name not in SHAPES:
        raise unknown("model shape", name, SHAPES)
    return SHAPES[name]


def config_of(name: str, own: Mapping[str, Any]) -> Any:
    """The configuration of transformers, with fields of the caller's own (num_labels)."""
    from transformers import AutoConfig

    asked = shape(name)
    return AutoConfig.for_model(asked.kind, **asked.fields, **own)
