"""Lexicon and inflection of the generated Romanian: invented stems, two genders, endings in Romanian letters."""

from __future__ import annotations

import random
from functools import cache

from suites.embedded.words import GENRES, TRAITS, VERBS

ONSETS = "b c d f g l m n p r s t v z ș ț br cr dr pl tr st".split()
VOWELS = "a e i o u ă â î".split()
CODAS = "c d l m n r s t ș ț z".split()
# Endings of singular and plural: bare after a demonstrative, otherwise with the definite article as in Romanian.
BARE = {"m": ("", "i"), "f": ("ă", "e")}
DEFINITE = {"m": ("ul", "ii"), "f": ("a", "ele")}
AGREEMENT = {"m": ("", "i"), "f": ("ă", "e")}
PRESENT, PARTICIPLE = ("ește", "esc"), "it"
THIS = {"m": ("acest", "acești"), "f": ("această", "aceste")}
FUNCTION = {
    "near": "lângă", "by": "de", "not": "nu", "and": "și", "but": "dar", "because": "fiindcă",
    "yesterday": "ieri", "today": "astăzi", "always": "mereu", "now": "acum",
}  # fmt: skip
BE = {False: ("este", "sunt"), True: ("a fost", "au fost")}
HAVE = ("a", "au")


def list_nouns() -> list[str]:
    """English nouns and places, both synonyms of each."""
    words = [word for genre in GENRES for noun in (*genre.actors, *genre.objects) for word in noun.words]
    return words + [word for genre in GENRES for pair in genre.places for word in pair]


def list_lemmas() -> tuple[list[str], list[str], list[str]]:
    """English nouns, adjectives and verbs, each in a fixed order."""
    verbs = [word for pair in VERBS for word in pair]
    return list_nouns(), [word for trait in TRAITS for word in trait.words], verbs


@cache
def build_lexicon() -> dict[str, str]:
    """The stem for each English lemma."""
    rng = random.Random("romanian")
    # No stem equals a function word or another stem, so that a translation has one reading.
    used_stems: set[str] = set(FUNCTION.values())
    stems: dict[str, str] = {}
    for word in (word for part in list_lemmas() for word in part):
        while word not in stems:
            stem = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.choice((1, 1, 2))))
            stem += rng.choice(CODAS)
            if stem not in used_stems:
                used_stems.add(stem)
                stems[word] = stem
    return stems


@cache
def draw_genders() -> dict[str, str]:
    """The gender of each noun."""
    rng = random.Random("genders")
    return {word: rng.choice("mf") for word in list_nouns()}


def inflect_noun(word: str, plural: bool, definite: bool) -> str:
    """A noun with its ending."""
    return build_lexicon()[word] + (DEFINITE if definite else BARE)[draw_genders()[word]][plural]


def inflect_adjective(stem: str, word: str, plural: bool) -> str:
    """An adjective or participle that agrees with the noun."""
    return stem + AGREEMENT[draw_genders()[word]][plural]


def insert_cedillas(text: str) -> str:
    """The text with the older cedilla letters, as in much Romanian text."""
    return text.replace("ș", "ş").replace("ț", "ţ")
