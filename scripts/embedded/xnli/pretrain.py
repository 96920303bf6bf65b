"""Pretrain the tiny multilingual encoder, from the weights of the English one.

Run `python -m scripts.embedded.xnli.pretrain --out DIR`; DIR receives config.json, model.safetensors and the tokenizer.
The objectives are those of the English encoder; the text has fifteen languages, and half of the pairs have two of them.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

import suites.embedded
from scripts.embedded.half import save_half
from scripts.embedded.pretrain import Pretrainer, train
from scripts.embedded.recipe import EncoderRecipe, build_encoder_config
from scripts.embedded.texts import encode
from scripts.embedded.updates import build_parser, set_up_torch
from scripts.embedded.vocabulary import save_tokenizer
from scripts.embedded.xnli.corpus import build_replacement_tables, draw_multilingual_pairs, list_all_words

ENGLISH = Path(suites.embedded.__file__).parent / "models" / "encoder"
TABLE = "embeddings.word_embeddings.weight"


def read_shipped_words() -> list[str]:
    """The vocabulary of the English encoder, in the order of its ids."""
    word_ids: dict[str, int] = json.loads((ENGLISH / "tokenizer.json").read_text())["model"]["vocab"]
    return sorted(word_ids, key=word_ids.__getitem__)


def build_warm_model(recipe: EncoderRecipe, words: list[str]) -> Pretrainer:
    """The English encoder with new random embeddings for the words of other languages."""
    torch.manual_seed(recipe.seed)
    model = Pretrainer(build_encoder_config(recipe, len(words)))
    state = load_file(str(ENGLISH / "model.safetensors"))
    fresh = model.encoder.state_dict()[TABLE].clone()
    # English words come first in the vocabulary, so their ids and embeddings stay those of the English encoder.
    fresh[: len(state[TABLE])] = state[TABLE]
    model.encoder.load_state_dict(state | {TABLE: fresh})
    return model


def main() -> None:
    """Generate the text, pretrain and save encoder and tokenizer."""
    options = build_parser(main.__doc__, steps=10_000).parse_args()
    set_up_torch(options.threads)
    recipe = EncoderRecipe(seed=options.seed, steps=options.steps)
    english = read_shipped_words()
    words = list_all_words(english)
    model = build_warm_model(recipe, words)
    text = encode(words, draw_multilingual_pairs(recipe.seed, recipe.pairs))
    last = train(model, text, recipe, build_replacement_tables(english, words))
    save_half(model.encoder, options.out)
    save_tokenizer(words, options.out)
    print("words", len(words), "final losses", last)


if __name__ == "__main__":
    main()
