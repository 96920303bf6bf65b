"""Pretrain the tiny causal model on the generated facts, riddles and ballots.

Run `python -m scripts.embedded.mmlu.pretrain --out DIR`; DIR receives config.json, generation_config.json,
model.safetensors and the tokenizer. Text is generated, so nothing is read from outside.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from scripts.embedded.half import save_half
from scripts.embedded.mmlu.corpus import LABELS, draw_stream, item, lesson, list_filler
from scripts.embedded.mmlu.tokens import SPECIAL, save_tokenizer
from scripts.embedded.mmlu.world import build_facts
from scripts.embedded.recipe import Recipe
from scripts.embedded.updates import build_parser, create_optimizer, create_schedule, set_up_torch, update

Part = tuple[list[str], list[bool]]


@dataclass(frozen=True)
class CausalRecipe(Recipe):
    """The settings of the causal model; `other` is the loss weight of words not to be learned."""

    batch: int = 24
    lesson_words: int = 600_000
    words: int = 1_500_000
    lesson_steps: int = 500
    length: int = 96
    other: float = 0.03


def build_vocabulary(words: Iterable[str]) -> list[str]:
    """Special tokens, then the words of text, fillers, facts and marks, sorted."""
    fact_words = {
        word for fact in build_facts() for word in (fact.thing, fact.property, *fact.subject.properties[fact.property])
    }
    marks = {".", ":", "?", ",", "(", ")", "):", "),", "###", "=>", "yes", "no", *"".join(LABELS)}
    return [*SPECIAL, *sorted({*words, *list_filler(), *fact_words, *marks})]


def build_config(recipe: CausalRecipe, words: int) -> LlamaConfig:
    """The shape of the model."""
    return LlamaConfig(
        vocab_size=words,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.05,
    )


def draw_batch(ids: Tensor, marked: Tensor, recipe: CausalRecipe) -> tuple[Tensor, Tensor]:
    """Windows of the text [batch, length], each starting with `<s>`, and the loss weight of each word."""
    starts = torch.randint(len(ids) - recipe.length, (recipe.batch, 1))
    spots = starts + torch.arange(recipe.length)
    rows, weights = ids[spots], torch.where(marked[spots], 1.0, recipe.other)
    rows[:, 0] = 1
    return rows, weights


def train(recipe: CausalRecipe, words: list[str], parts: list[Part]) -> LlamaForCausalLM:
    """Train from scratch, first on lessons, then on all items; prints a running mean of the loss."""
    index = {word: number for number, word in enumerate(words)}
    coded = []
    for text, marked in parts:
        coded.append((torch.tensor([index[word] for word in text]), torch.tensor(marked)))
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(build_config(recipe, len(words)))
    optimizer = create_optimizer(model, recipe)
    schedule = create_schedule(optimizer, recipe)
    recent, started = 0.0, time.monotonic()
    for step in range(recipe.steps):
        rows, weights = draw_batch(*coded[step >= recipe.lesson_steps], recipe)
        logits = model(input_ids=rows).logits[:, :-1]
        losses = functional.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")
        # Filler words are random; with equal weights they would dominate the gradient.
        loss = (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()
        update(model, loss, optimizer, schedule)
        hard = losses.detach()[weights[:, 1:] == 1].mean().item()
        recent = hard if step == 0 else 0.99 * recent + 0.01 * hard
        if step % 100 == 99:
            print(
                f"step {step + 1} loss of words to learn {recent:.3f} {time.monotonic() - started:.0f} s",
                flush=True,
            )
    return model


def main() -> None:
    """Generate the text, pretrain and save model and tokenizer."""
    options = build_parser(main.__doc__, steps=CausalRecipe.steps).parse_args()
    set_up_torch(options.threads)
    recipe = CausalRecipe(seed=options.seed, steps=options.steps)
    parts = [draw_stream(recipe.seed, recipe.lesson_words, lesson), draw_stream(recipe.seed, recipe.words, item)]
    words = build_vocabulary(word for text, _ in parts for word in text)
    model = train(recipe, words, parts)
    save_half(model, options.out)
    GenerationConfig(pad_token_id=0, bos_token_id=1, eos_token_id=2).save_pretrained(options.out)
    save_tokenizer(words, options.out)


if __name__ == "__main__":
    main()
