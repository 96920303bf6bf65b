"""Unlabelled text in all languages: related pairs in one language, across two, and plain translations."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from scripts.embedded.corpus import Pair, draw_related_pair
from scripts.embedded.vocabulary import build_replacement_table
from suites.embedded.xnli.languages import LANGUAGES, build_lexicons
from suites.embedded.xnli.orders import translate_sentence

ENGLISH_WEIGHT = 2.5
# Shares of pairs in one language and of translations; the others are related pairs across two languages.
WITHIN, TRANSLATION = 0.35, 0.35


def draw_multilingual_pair(rng: random.Random, codes: list[str], weights: list[float]) -> Pair:
    """One pair; where the two languages differ, one of them is mostly English."""
    first, second = draw_related_pair(rng)
    code = rng.choices(codes, weights)[0]
    draw = rng.random()
    if draw < WITHIN:
        return translate_sentence(code, first), translate_sentence(code, second)
    # English pivots: the task trains on one language, so every language has to be close to English.
    other = "en" if rng.random() < 0.7 else rng.choices(codes, weights)[0]
    pair = (code, other) if rng.random() < 0.5 else (other, code)
    if draw < WITHIN + TRANSLATION:
        second = first
    return translate_sentence(pair[0], first), translate_sentence(pair[1], second)


def draw_multilingual_pairs(seed: int, count: int) -> list[Pair]:
    """The pretraining text."""
    rng = random.Random(f"multilingual-{seed}")
    codes = ["en", *(language.code for language in LANGUAGES)]
    weights = [ENGLISH_WEIGHT, *(language.weight for language in LANGUAGES)]
    return [draw_multilingual_pair(rng, codes, weights) for _ in range(count)]


def list_all_words(english: list[str]) -> list[str]:
    """The English encoder's words in their order, then those of the other languages, sorted."""
    english_set = set(english)
    return english + sorted({word for lexicon in build_lexicons().values() for word in lexicon.values()} - english_set)


def build_replacement_tables(english: list[str], words: list[str]) -> tuple[Tensor, Tensor]:
    """Words that may replace a word: translations of those of its English word. Cognates keep the English ones."""
    table, sizes = build_replacement_table(english)
    index = {word: number for number, word in enumerate(words)}
    wide = np.zeros((len(words), table.shape[1]), dtype=np.int64)
    counts = np.zeros(len(words), dtype=np.int64)
    wide[: len(english)], counts[: len(english)] = table, sizes
    for lexicon in build_lexicons().values():
        to_other = np.array([index[lexicon.get(word, word)] for word in english])
        for number, word in enumerate(english):
            spot = index[lexicon.get(word, word)]
            if spot >= len(english):
                wide[spot], counts[spot] = to_other[table[number]], sizes[number]
    return torch.from_numpy(wide), torch.from_numpy(counts)
