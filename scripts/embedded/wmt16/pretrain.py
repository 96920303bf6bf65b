"""Pretrain the tiny translation model on masked sentences, telegrams in the other language, and expanded telegrams.

Run `python -m scripts.embedded.wmt16.pretrain --out DIR`; DIR receives config.json, generation_config.json,
model.safetensors and the tokenizer. Text is generated, so nothing is read from outside.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration

from scripts.embedded.half import save_half
from scripts.embedded.recipe import Recipe
from scripts.embedded.texts import iterate_batches, pad
from scripts.embedded.updates import build_parser, create_optimizer, create_schedule, set_up_torch, update
from scripts.embedded.wmt16.corpus import draw_examples
from scripts.embedded.wmt16.tokens import build_tokenizer, save_tokenizer


@dataclass(frozen=True)
class TranslationRecipe(Recipe):
    """The settings of the translation model."""

    layers: int = 2
    examples: int = 150_000


def build_config(recipe: TranslationRecipe, pieces: int) -> T5Config:
    """The shape of the model, without dropout."""
    shape = T5Config(
        vocab_size=pieces,
        d_model=recipe.hidden,
        d_kv=recipe.hidden // recipe.heads,
        d_ff=recipe.inner,
        num_heads=recipe.heads,
        num_layers=recipe.layers,
        num_decoder_layers=recipe.layers,
        relative_attention_num_buckets=16,
        relative_attention_max_distance=32,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
    )
    shape.decoder_start_token_id = 0
    return shape


@dataclass(frozen=True)
class EncodedExamples:
    """Padded ids of sources and targets, and the summed lengths that batching sorts by."""

    source: Tensor
    target: Tensor
    sizes: tuple[Tensor, Tensor]


def encode_examples(recipe: TranslationRecipe) -> EncodedExamples:
    """The pretraining text as ids."""
    tokenizer = build_tokenizer()
    sources, targets = zip(*draw_examples(recipe.seed, recipe.examples), strict=True)
    source, first = pad(tokenizer(list(sources))["input_ids"])
    target, second = pad(tokenizer(list(targets))["input_ids"])
    return EncodedExamples(source, target, (first, second))


def compute_loss(model: T5ForConditionalGeneration, text: EncodedExamples, rows: Tensor) -> Tensor:
    """Cross-entropy of the target pieces of one batch."""
    first, second = (int(size[rows].max()) for size in text.sizes)
    source, target = text.source[rows, :first], text.target[rows, :second]
    labels = torch.where(target == 0, -100, target)
    loss: Tensor = model(input_ids=source, attention_mask=(source != 0).long(), labels=labels).loss
    return loss


def train(recipe: TranslationRecipe, text: EncodedExamples, pieces: int) -> T5ForConditionalGeneration:
    """Train from scratch; prints a running mean of the loss."""
    torch.manual_seed(recipe.seed)
    model = T5ForConditionalGeneration(build_config(recipe, pieces))
    optimizer = create_optimizer(model, recipe)
    schedule = create_schedule(optimizer, recipe)
    recent, started = 0.0, time.monotonic()
    order = iterate_batches(text.sizes[0] + text.sizes[1], recipe.batch)
    for step, rows in zip(range(recipe.steps), order, strict=False):
        loss = compute_loss(model, text, rows)
        update(model, loss, optimizer, schedule)
        recent = loss.item() if step == 0 else 0.99 * recent + 0.01 * loss.item()
        if step % 500 == 499:
            print(f"step {step + 1} loss {recent:.3f} {time.monotonic() - started:.0f} s", flush=True)
    return model


def main() -> None:
    """Generate the text, pretrain and save model and tokenizer."""
    options = build_parser(main.__doc__, steps=TranslationRecipe.steps).parse_args()
    set_up_torch(options.threads)
    recipe = TranslationRecipe(seed=options.seed, steps=options.steps)
    model = train(recipe, encode_examples(recipe), len(build_tokenizer()))
    save_half(model, options.out)
    GenerationConfig(pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, max_length=128).save_pretrained(
        options.out
    )
    save_tokenizer(options.out)


if __name__ == "__main__":
    main()
