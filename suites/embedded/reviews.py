"""Opinions about films, songs and meals: the generated sentiment data."""

from __future__ import annotations

import random

from suites.embedded.words import BLAME, DISLIKED, LIKED, PRAISE, THINGS

FEEL = ("was", "seemed", "felt", "looked")
HEDGES = ("very", "quite", "truly", "really")


def draw_thing(rng: random.Random) -> list[str]:
    """What the opinion is about."""
    return ["the", rng.choice(rng.choice(THINGS))]


def draw_clause(rng: random.Random, positive: bool, negation: float = 0.2) -> list[str]:
    """One opinion of the given polarity; a negated clause uses a word of the other polarity."""
    negated = rng.random() < negation
    # A word of the other polarity, negated: "not boring" is positive.
    good = positive != negated
    if rng.random() < 0.65:
        adverb = ["not"] if negated else [rng.choice(HEDGES)] if rng.random() < 0.3 else []
        return [*draw_thing(rng), rng.choice(FEEL), *adverb, rng.choice(PRAISE if good else BLAME)]
    return [
        "nobody" if negated else rng.choice(("we", "i")),
        rng.choice(LIKED if good else DISLIKED),
        *draw_thing(rng),
    ]


def draw_review(rng: random.Random, positive: bool) -> list[str]:
    """One or two clauses; after `but` the second clause outweighs the first."""
    shape = rng.random()
    if shape < 0.3:
        return draw_clause(rng, positive)
    if shape < 0.8:
        return [*draw_clause(rng, positive), "and", *draw_clause(rng, positive)]
    return [*draw_clause(rng, not positive), "but", *draw_clause(rng, positive)]
