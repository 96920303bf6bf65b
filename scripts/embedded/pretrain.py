"""Pretrain the tiny encoder: masked words, replaced-word detection and same-scene prediction.

Run `python -m scripts.embedded.pretrain --out DIR`; DIR receives config.json, model.safetensors
and the tokenizer. Training text is generated, so nothing is read from outside.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from scripts.embedded.corpus import draw_text_pairs
from scripts.embedded.corruption import corrupt
from scripts.embedded.recipe import EncoderRecipe, build_encoder_config, compute_rate_factor
from scripts.embedded.texts import EncodedPairs, compose, encode, iterate_batches
from scripts.embedded.updates import build_parser, create_optimizer, set_up_torch, update
from scripts.embedded.vocabulary import build_replacement_table, build_vocabulary, save_tokenizer


class Pretrainer(nn.Module):
    """The encoder with the three pretraining heads; only the encoder is kept."""

    def __init__(self, config: BertConfig) -> None:
        """Build the encoder, the word head, a wrong-word head for each of the last two layers, and the scene head."""
        super().__init__()
        self.encoder = BertModel(config)
        self.words = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size), nn.GELU(), nn.LayerNorm(config.hidden_size)
        )
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.odd = nn.ModuleList(nn.Linear(config.hidden_size, 1) for _ in range(2))
        self.scene = nn.Linear(config.hidden_size, 2)


def compute_losses(
    model: Pretrainer, text: EncodedPairs, rows: Tensor, recipe: EncoderRecipe, tables: tuple[Tensor, Tensor]
) -> tuple[Tensor, ...]:
    """The three losses on one batch."""
    rows = rows[torch.randperm(len(rows))]
    # Pairs from two scenes: rows are rolled by one, so the second sentence comes from another row.
    apart = (torch.rand(recipe.batch) < recipe.unrelated) & (text.second_size[rows] > 0)
    partners = torch.where(apart, rows.roll(1), rows)
    apart &= text.second_size[partners] > 0
    ids, segments, mask = compose(text, rows, partners)
    corrupted, predict, odd = corrupt(ids, segments, recipe, *tables)
    output = model.encoder(input_ids=corrupted, token_type_ids=segments, attention_mask=mask, output_hidden_states=True)
    state = model.words(output.last_hidden_state[predict])
    # Output weights are tied to the embeddings, as in BERT.
    logits = state @ model.encoder.embeddings.word_embeddings.weight.T + model.bias
    word_loss = functional.cross_entropy(logits, ids[predict])
    # In a pair from two scenes every word of the second sentence is out of place, so wrong words cannot be detected.
    visible = (corrupted > 4) & ~apart[:, None]
    odd_loss = torch.zeros(())
    for head, layer in zip(model.odd, output.hidden_states[-2:], strict=True):
        guess = head(layer[visible]).squeeze(-1)
        odd_loss = odd_loss + functional.binary_cross_entropy_with_logits(guess, odd[visible].float())
    scene_loss = functional.cross_entropy(model.scene(output.pooler_output), apart.long())
    return word_loss, odd_loss, scene_loss


def train(model: Pretrainer, text: EncodedPairs, recipe: EncoderRecipe, tables: tuple[Tensor, Tensor]) -> list[float]:
    """Train all heads together; returns the mean of the last losses."""
    optimizer = create_optimizer(model, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: compute_rate_factor(step, recipe))
    recent = torch.zeros(3)
    started = time.monotonic()
    order = iterate_batches(text.first_size + text.second_size, recipe.batch)
    for step, rows in zip(range(recipe.steps), order, strict=False):
        parts = compute_losses(model, text, rows, recipe, tables)
        # A binary loss is several times smaller than one over the vocabulary, hence the factor 4.
        loss = parts[0] + 4 * parts[1] + recipe.scene_weight * parts[2]
        update(model, loss, optimizer, schedule)
        values = torch.stack([part.detach() for part in parts])
        recent = values if step == 0 else recent.lerp(values, 0.005)
        if step % 1000 == 999:
            shown = " ".join(f"{value:.3f}" for value in recent.tolist())
            print(f"step {step + 1} words/odd/scene {shown} {time.monotonic() - started:.0f} s", flush=True)
    return recent.tolist()


def main() -> None:
    """Generate the text, pretrain and save encoder and tokenizer."""
    parser = build_parser(main.__doc__, steps=EncoderRecipe.steps, threads=2)
    parser.add_argument("--layers", type=int, default=EncoderRecipe.layers)
    options = parser.parse_args()
    set_up_torch(options.threads)
    recipe = EncoderRecipe(seed=options.seed, steps=options.steps, layers=options.layers)
    pairs = draw_text_pairs(recipe.seed, recipe.pairs)
    words = build_vocabulary(sentence for pair in pairs for sentence in pair)
    options.out.mkdir(parents=True, exist_ok=True)
    save_tokenizer(words, options.out)
    torch.manual_seed(recipe.seed)
    model = Pretrainer(build_encoder_config(recipe, len(words)))
    table, sizes = build_replacement_table(words)
    last = train(model, encode(words, pairs), recipe, (torch.from_numpy(table), torch.from_numpy(sizes)))
    model.encoder.save_pretrained(str(options.out))
    print("final losses", last)


if __name__ == "__main__":
    main()
