"""Word order of the generated languages, on sentences laid out by hand."""

from __future__ import annotations

import pytest

from suites.embedded.xnli.languages import build_lexicons
from suites.embedded.xnli.orders import translate_sentence


@pytest.mark.parametrize(
    ("code", "sentence", "order"),
    [
        ("de", "the big dog chases this horse", "the big dog chases this horse"),
        ("es", "the big dog chases the tiny horse", "the dog big chases the horse tiny"),
        ("tr", "the big dog chases the horse near the barn", "big dog horse near barn chases"),
        ("ar", "the big dog chases the horse", "chases the dog big the horse"),
        ("bg", "the big dog chases this horse", "big dog the chases horse this"),
        ("hi", "who chases the dog ?", "who dog chases ?"),
        ("th", "the dogs are never old", "dogs are never old"),
    ],
)
def test_order(code: str, sentence: str, order: str) -> None:
    lexicon = build_lexicons()[code]
    assert translate_sentence(code, sentence.split()) == [lexicon[word] for word in order.split()]


def test_no_two_words_of_a_language_are_one() -> None:
    for lexicon in build_lexicons().values():
        assert len(set(lexicon.values())) == len(lexicon)
