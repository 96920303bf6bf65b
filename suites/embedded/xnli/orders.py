"""Word order: a generated English sentence in the word order of another language."""

from __future__ import annotations

import itertools
from functools import cache

from suites.embedded.lemmas import list_lemma_groups
from suites.embedded.xnli.languages import AFTER, ARTICLES, LANGUAGES, NONE, SVO, VSO, Language, translate_words


@cache
def list_word_classes() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Adjectives, nouns and verbs of the generated English."""
    # The first six classes of `list_lemma_groups`, in its order.
    classes = [frozenset(itertools.chain.from_iterable(groups)) for groups in list_lemma_groups()[:6]]
    noun, plural, base, third, past, trait = classes
    return trait, noun | plural, base | third | past


def reorder_phrases(sentence: list[str], language: Language) -> list[str]:
    """Adjective and article moved behind the noun, or the article dropped."""
    adjectives, nouns, _ = list_word_classes()
    words: list[str] = []
    article: list[str] = []
    for word in sentence:
        if word == "the" and language.article == NONE:
            continue
        if word in ARTICLES and language.article == AFTER:
            article = [word]
            continue
        words.append(word)
        if word in nouns:
            if language.adjective_last and len(words) > 1 and words[-2] in adjectives:
                words[-2:] = [words[-1], words[-2]]
            words += article
            article = []
    return words + article


def move_verb(sentence: list[str], language: Language) -> list[str]:
    """The first verb moved to the front or the end of its sentence."""
    _, _, verbs = list_word_classes()
    spot = next((number for number, word in enumerate(sentence) if word in verbs), None)
    if spot is None or language.order == SVO:
        return sentence
    verb, remaining = sentence[spot], sentence[:spot] + sentence[spot + 1 :]
    if language.order == VSO:
        return [verb, *remaining]
    return [*remaining[:-1], verb, "?"] if remaining[-1:] == ["?"] else [*remaining, verb]


@cache
def get_languages() -> dict[str, Language]:
    """The languages by their code."""
    return {language.code: language for language in LANGUAGES}


def translate_sentence(code: str, sentence: list[str]) -> list[str]:
    """The sentence in the language."""
    if code == "en" or not sentence:
        return sentence
    language = get_languages()[code]
    return translate_words(code, move_verb(reorder_phrases(sentence, language), language))
