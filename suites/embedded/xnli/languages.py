"""Fourteen generated languages: the share of English words in each, its word order and its script."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from suites.embedded.lemmas import list_lemma_groups

WordOrder = str
SVO, SOV, VSO = "svo", "sov", "vso"
BEFORE, AFTER, NONE = "before", "after", "none"


@dataclass(frozen=True)
class Language:
    """`cognates` is the share of words kept from English, `weight` its share of the pretraining text."""

    code: str
    cognates: float
    weight: float
    order: WordOrder
    adjective_last: bool
    article: str
    onsets: str
    vowels: str


# Consonants and vowels of each script; syllables are one of each.
LATIN = ("b d f g k l m n p r s t", "a e i o u")
CYRILLIC = ("б в г д з к л м н п р с т", "а е и о у")  # noqa: RUF001
GREEK = ("β γ δ κ λ μ ν π ρ σ τ φ", "α ε ι ο υ")  # noqa: RUF001
ARABIC = ("ب ت ج د ر س ش ف ق ك ل م ن", "ا و ي")  # noqa: RUF001
DEVANAGARI = ("क ग च ज त द न प ब म र ल स", "ा ि ी े ो")
THAI = ("ก ข ค ง จ ด ต น บ ป ม ร ล ส", "า ิ ี ุ อ")
HAN = ("山 水 火 木 日 月 田 石 竹 米 羊 舟", "人 口 手 心 目")
VIETNAMESE = ("b ch d đ g h kh l m n ph th tr v", "ă â ê ô ơ ư")
SWAHILI = ("b ch d j k m mb nd ng p w z", "a e i o u")

# Shares and word orders follow the real languages roughly: related ones have more cognates, rare ones less text.
LANGUAGES = (
    Language("ar", 0.15, 0.8, VSO, True, BEFORE, *ARABIC),
    Language("bg", 0.3, 1.0, SVO, False, AFTER, *CYRILLIC),
    Language("de", 0.5, 1.2, SVO, False, BEFORE, *LATIN),
    Language("el", 0.25, 0.8, SVO, False, BEFORE, *GREEK),
    Language("es", 0.45, 1.2, SVO, True, BEFORE, *LATIN),
    Language("fr", 0.45, 1.2, SVO, True, BEFORE, *LATIN),
    Language("hi", 0.15, 0.6, SOV, False, NONE, *DEVANAGARI),
    Language("ru", 0.3, 1.2, SVO, False, NONE, *CYRILLIC),
    Language("sw", 0.1, 0.25, SVO, True, NONE, *SWAHILI),
    Language("th", 0.05, 0.4, SVO, True, NONE, *THAI),
    Language("tr", 0.2, 0.8, SOV, False, NONE, *LATIN),
    Language("ur", 0.1, 0.25, SOV, False, NONE, *ARABIC),
    Language("vi", 0.2, 0.8, SVO, True, NONE, *VIETNAMESE),
    Language("zh", 0.1, 0.8, SVO, False, NONE, *HAN),
)
CODES = tuple(sorted(("en", *(language.code for language in LANGUAGES))))
ARTICLES = ("the", "this", "that", "these", "those")


def list_english_words() -> list[str]:
    """Every word of the generated English that a translation may contain, sorted."""
    return sorted({word for groups in list_lemma_groups() for group in groups for word in group} | {"not", "?"})


def draw_word(rng: random.Random, language: Language, taken: set[str]) -> str:
    """A word of two or three syllables that no other language has."""
    onsets, vowels = language.onsets.split(), language.vowels.split()
    while True:
        word = "".join(rng.choice(onsets) + rng.choice(vowels) for _ in range(rng.choice((2, 2, 3))))
        if word not in taken:
            taken.add(word)
            return word


@cache
def build_lexicons() -> dict[str, dict[str, str]]:
    """For each language the word for each English word; a cognate is the English word itself."""
    words = list_english_words()
    used_words = set(words)
    lexicons_by_code: dict[str, dict[str, str]] = {"en": {word: word for word in words}}
    for language in LANGUAGES:
        # One stream per language, so that a change of one lexicon leaves the others.
        rng = random.Random(f"lexicon-{language.code}")
        cognates = set(rng.sample(words, round(language.cognates * len(words)))) | {"?"}
        lexicons_by_code[language.code] = {
            word: word if word in cognates else draw_word(rng, language, used_words) for word in words
        }
    return lexicons_by_code


def translate_words(code: str, sentence: Iterable[str]) -> list[str]:
    """Word for word, order untouched."""
    lexicon = build_lexicons()[code]
    return [lexicon[word] for word in sentence]
