"""Words of the generated texts by class, with their synonyms: what a translation or a tokenizer has to cover.

class (nouns, plurals, verbs, ...) -> groups of synonyms -> words, e.g. [["dog", "hound"], ["horse", "pony"], ...]
"""

from __future__ import annotations

from collections.abc import Callable

from suites.embedded import morphology, reviews
from suites.embedded.words import AFFIRM, BLAME, DENY, DISLIKED, GENRES, LIKED, PRAISE, THINGS, TRAITS, VERBS

Groups = list[list[str]]
"""Groups of interchangeable words."""


def _inflect_groups(groups: Groups, form: Callable[[str], str]) -> Groups:
    """The same groups with every word in another form."""
    inflected = []
    for group in groups:
        inflected.append([form(word) for word in group])
    return inflected


def list_lemma_groups() -> list[Groups]:
    """Word classes; each class lists its groups of interchangeable words."""
    # Pretrained models and lexicons depend on the order of classes and words, so it must not change.
    nouns = [noun.words for genre in GENRES for noun in (*genre.actors, *genre.objects)]
    kinds = sorted({noun.kind for genre in GENRES for noun in (*genre.actors, *genre.objects)})
    singular = [list(words) for words in nouns] + [[kind] for kind in kinds]
    verbs = [list(pair) for pair in VERBS]
    opinions = [list(PRAISE), list(BLAME)], [list(LIKED), list(DISLIKED)]
    return [
        singular,
        _inflect_groups(singular, morphology.form_plural),
        verbs,
        _inflect_groups(verbs, morphology.form_third_person),
        _inflect_groups(verbs, morphology.form_participle),
        [list(trait.words) for trait in TRAITS],
        [list(pair) for genre in GENRES for pair in genre.places],
        *opinions,
        [list(pair) for pair in THINGS],
        [list(AFFIRM), list(DENY), list(reviews.HEDGES)],
        [["the"], ["this", "that"], ["these", "those"]],
        [["is"], ["are"], ["do"], ["does"], ["by"], list(reviews.FEEL)],
        [["who", "which"], ["what"], ["where"], ["nobody"], ["we", "i"]],
        [["and"], ["but"], ["near", "beside"], ["because"], ["it"], ["?"]],
    ]
