"""A random causal model and a tokenizer of bytes, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn


def tokenizer() -> Any:
    """One token a byte; <s> before each text, </s> to end it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({word: i for i, word in enumerate([*special, *letters])}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def model(
    dtype: torch.dtype = torch.float64, attention: str = "eager", positions: int = 512, kind: str = "llama"
) -> nn.Module:
    """The same weights each time.

    `kind` opt with sdpa computes in `dtype` throughout; norms of llama, and softmax in eager attention, are float32.
    """
    from transformers import AutoModelForCausalLM, LlamaConfig, OPTConfig

    shape: dict[str, Any] = {"vocab_size": 259, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config: Any = LlamaConfig(
        **shape,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.2,
        tie_word_embeddings=False,
    )
    if kind == "opt":
        own = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 2, "init_std": 0.2}
        config = OPTConfig(**shape, **own, num_attention_heads=4, max_position_embeddings=positions, dropout=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    made.config.use_cache = False
    return made.to(dtype).eval().requires_grad_(False)  # type: ignore[no-any-return]


def save(folder: Path, positions: int = 512) -> Path:
    """Model and tokenizer as a folder in float32."""
    made: Any = model(torch.float32, positions=positions)
    made.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
