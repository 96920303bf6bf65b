"""Words of the generated world by class, with their synonyms: what a translation or a tokenizer has to know."""

from __future__ import annotations

from suites.embedded import morphology, reviews
from suites.embedded.words import AFFIRM, BLAME, DENY, DISLIKED, GENRES, LIKED, PRAISE, THINGS, TRAITS, VERBS


def list_lemma_groups() -> list[list[list[str]]]:
    """Word classes; each class lists its groups of interchangeable words."""
    nouns = [noun.words for genre in GENRES for noun in (*genre.actors, *genre.objects)]
    kinds = sorted({noun.kind for genre in GENRES for noun in (*genre.actors, *genre.objects)})
    singular = [list(words) for words in nouns] + [[kind] for kind in kinds]
    verbs = [list(pair) for pair in VERBS]
    opinions = [list(PRAISE), list(BLAME)], [list(LIKED), list(DISLIKED)]
    return [
        singular,
        [[morphology.form_plural(word) for word in group] for group in singular],
        *(
            [[form(word) for word in group] for group in verbs]
            for form in (str, morphology.form_third_person, morphology.form_participle)
        ),
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
