"""Settings of pretraining: sizes, learning rate, probabilities of corruption."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import BertConfig


@dataclass(frozen=True)
class Recipe:
    """The settings that all embedded models have; a recipe determines the pretrained weights."""

    seed: int = 0
    steps: int = 3_500
    batch: int = 64
    rate: float = 3e-3
    hidden: int = 64
    inner: int = 192
    heads: int = 4
    layers: int = 3


@dataclass(frozen=True)
class EncoderRecipe(Recipe):
    """The recipe of the encoders; the shares are of words (`masked` to `swapped`) and of pairs (`unrelated`)."""

    steps: int = 26_000
    rate: float = 1.5e-3
    inner: int = 128
    pairs: int = 200_000
    masked: float = 0.12
    replaced: float = 0.15
    kept: float = 0.03
    swapped: float = 0.02
    unrelated: float = 0.25
    scene_weight: float = 0.2


def compute_rate_factor(step: int, recipe: EncoderRecipe) -> float:
    """Learning rate factor: short warm-up, then linear decay."""
    warm = max(1, recipe.steps // 30)
    return min((step + 1) / warm, (recipe.steps - step) / (recipe.steps - warm))


def build_encoder_config(recipe: EncoderRecipe, words: int) -> BertConfig:
    """The shape of the encoder, without dropout; `words` is the size of the vocabulary."""
    config = BertConfig(
        vocab_size=words,
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=recipe.inner,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
        type_vocab_size=2,
        initializer_range=0.05,
        hidden_act="relu",
    )
    # Eager attention is faster at this size.
    config._attn_implementation = "eager"
    return config
