"""Pretrain the tiny encoder: masked words, replaced-word detection and same-scene prediction.

Run `python -m suites.embedded.pretrain --out DIR`; DIR receives config.json, model.safetensors
and the tokenizer. Training text is generated, so nothing is read from outside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from suites.embedded.corpus import text_pairs
from suites.embedded.vocabulary import rivals, save_tokenizer, vocabulary


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the pretrained weights."""

    seed: int = 0
    pairs: int = 200_000
    steps: int = 26_000
    batch: int = 64
    rate: float = 1.5e-3
    masked: float = 0.12
    replaced: float = 0.15
    kept: float = 0.03
    swapped: float = 0.02
    unrelated: float = 0.25
    scene_weight: float = 0.2
    hidden: int = 64
    layers: int = 3
    heads: int = 4
    inner: int = 128


@dataclass(frozen=True)
class Text:
    """Padded word ids of all first and second sentences, with their lengths."""

    first: Tensor
    second: Tensor
    first_size: Tensor
    second_size: Tensor


class Pretrainer(nn.Module):
    """The encoder with the three pretraining heads; only the encoder is kept."""

    def __init__(self, config: BertConfig) -> None:
        """Lay out the encoder, the word head, an odd-word head a late layer and the scene head."""
        super().__init__()
        self.encoder = BertModel(config)
        self.words = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size), nn.GELU(), nn.LayerNorm(config.hidden_size)
        )
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.odd = nn.ModuleList(nn.Linear(config.hidden_size, 1) for _ in range(2))
        self.scene = nn.Linear(config.hidden_size, 2)


def pad(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Rows as one padded matrix, and their lengths."""
    sizes = [len(row) for row in rows]
    matrix = np.zeros((len(rows), max(sizes)), dtype=np.int64)
    for number, row in enumerate(rows):
        matrix[number, : len(row)] = row
    return torch.from_numpy(matrix), torch.tensor(sizes)


def encode(words: list[str], pairs: list[tuple[list[str], list[str]]]) -> Text:
    """Word ids of all pairs."""
    index = {word: number for number, word in enumerate(words)}
    first, first_size = pad([[index[word] for word in one] for one, _ in pairs])
    second, second_size = pad([[index[word] for word in two] for _, two in pairs])
    return Text(first, second, first_size, second_size)


def compose(text: Text, rows: Tensor, partners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lay out `[CLS] first [SEP] second [SEP]`: ids, segments and attention mask."""
    size_a, size_b = text.first_size[rows], text.second_size[partners]
    ends = 2 + size_a + torch.where(size_b > 0, size_b + 1, 0)
    spot = torch.arange(int(ends.max())).expand(len(rows), -1)
    start_b = (size_a + 2)[:, None]
    in_a, in_b = (
        (spot >= 1) & (spot <= size_a[:, None]),
        (spot >= start_b) & (spot < start_b + size_b[:, None]),
    )
    ids = torch.full_like(spot, 3)
    ids[:, 0] = 2
    from_a = text.first[rows].gather(1, (spot - 1).clamp(0, text.first.shape[1] - 1))
    from_b = text.second[partners].gather(1, (spot - start_b).clamp(0, text.second.shape[1] - 1))
    mask = spot < ends[:, None]
    ids = torch.where(in_a, from_a, torch.where(in_b, from_b, ids)) * mask
    return ids, ((spot >= start_b) & mask).long(), mask.long()


def corrupt(
    ids: Tensor, segments: Tensor, recipe: Recipe, table: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mask, replace and swap words: corrupted ids, places to predict, places that look wrong.

    In a pair mostly the second sentence is changed: were both changed alike, a mismatch
    would not tell which side is the odd one.
    """
    draw = torch.rand(ids.shape)
    paired = segments.any(1, keepdim=True)
    chance = torch.where(paired & (segments == 0), recipe.replaced / 3, recipe.replaced)
    real = ids > 4
    masked = real & (draw < recipe.masked)
    replaced = real & ~masked & (draw < recipe.masked + chance) & (sizes[ids] > 0)
    kept = real & (draw > 1 - recipe.kept)
    pick = (torch.rand(ids.shape) * sizes[ids]).long()
    out = torch.where(replaced, table[ids, pick], ids)
    out = torch.where(masked, torch.full_like(ids, 4), out)
    left = (
        (real & (draw > 0.5) & (draw < 0.5 + recipe.swapped))[:, :-1]
        & real[:, 1:]
        & (out[:, 1:] == ids[:, 1:])
    )
    left[:, 1:] &= ~left[:, :-1]
    one, two = out[:, :-1].clone(), out[:, 1:].clone()
    out[:, :-1] = torch.where(left, two, out[:, :-1])
    out[:, 1:] = torch.where(left, one, out[:, 1:])
    return out, masked | replaced | kept, real & (out != ids) & (out != 4)


def batches(text: Text, recipe: Recipe) -> Iterator[Tensor]:
    """Random row numbers without end; rows of like length share a batch to save padding."""
    size = text.first_size + text.second_size
    while True:
        pool = torch.randint(len(size), (16 * recipe.batch,))
        chunks = torch.split(pool[size[pool].argsort()], recipe.batch)
        for number in torch.randperm(16).tolist():
            yield chunks[number]


def losses(
    model: Pretrainer, text: Text, rows: Tensor, recipe: Recipe, tables: tuple[Tensor, Tensor]
) -> tuple[Tensor, ...]:
    """The three losses on one batch."""
    rows = rows[torch.randperm(len(rows))]
    apart = (torch.rand(recipe.batch) < recipe.unrelated) & (text.second_size[rows] > 0)
    partners = torch.where(apart, rows.roll(1), rows)
    apart &= text.second_size[partners] > 0
    ids, segments, mask = compose(text, rows, partners)
    seen, predict, odd = corrupt(ids, segments, recipe, *tables)
    output = model.encoder(
        input_ids=seen, token_type_ids=segments, attention_mask=mask, output_hidden_states=True
    )
    state = model.words(output.last_hidden_state[predict])
    logits = state @ model.encoder.embeddings.word_embeddings.weight.T + model.bias
    word_loss = functional.cross_entropy(logits, ids[predict])
    visible = (seen > 4) & ~apart[:, None]
    odd_loss = torch.zeros(())
    for head, layer in zip(model.odd, output.hidden_states[-2:], strict=True):
        guess = head(layer[visible]).squeeze(-1)
        odd_loss = odd_loss + functional.binary_cross_entropy_with_logits(guess, odd[visible].float())
    scene_loss = functional.cross_entropy(model.scene(output.pooler_output), apart.long())
    return word_loss, odd_loss, scene_loss


def slope(step: int, recipe: Recipe) -> float:
    """Learning rate factor: short warm-up, then linear decay."""
    warm = max(1, recipe.steps // 30)
    return min((step + 1) / warm, (recipe.steps - step) / (recipe.steps - warm))


def train(recipe: Recipe, words: list[str], text: Text) -> tuple[Pretrainer, list[float]]:
    """Train all heads together; returns the model and the mean of its last losses."""
    torch.manual_seed(recipe.seed)
    config = BertConfig(
        vocab_size=len(words),
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
    # Plain attention is the faster one at this size.
    config._attn_implementation = "eager"
    model = Pretrainer(config)
    table, sizes = rivals(words)
    tables = torch.from_numpy(table), torch.from_numpy(sizes)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: slope(step, recipe))
    recent = torch.zeros(3)
    started = time.monotonic()
    for step, rows in zip(range(recipe.steps), batches(text, recipe), strict=False):
        parts = losses(model, text, rows, recipe, tables)
        loss = parts[0] + 4 * parts[1] + recipe.scene_weight * parts[2]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        values = torch.stack([part.detach() for part in parts])
        recent = values if step == 0 else recent.lerp(values, 0.005)
        if step % 1000 == 999:
            shown = " ".join(f"{value:.3f}" for value in recent.tolist())
            print(f"step {step + 1} words/odd/scene {shown} {time.monotonic() - started:.0f} s", flush=True)
    return model, recent.tolist()


def main() -> None:
    """Generate the text, pretrain and save encoder and tokenizer."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--layers", type=int, default=Recipe.layers)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    recipe = Recipe(seed=options.seed, steps=options.steps, layers=options.layers)
    pairs = text_pairs(recipe.seed, recipe.pairs)
    words = vocabulary(sentence for pair in pairs for sentence in pair)
    options.out.mkdir(parents=True, exist_ok=True)
    save_tokenizer(words, options.out)
    model, last = train(recipe, words, encode(words, pairs))
    model.encoder.save_pretrained(str(options.out))
    print("final losses", last)


if __name__ == "__main__":
    main()
