"""Opinion sentences about films, songs and meals: the sentiment part of the world."""

from __future__ import annotations

import random

from suites.embedded.words import BLAME, DISLIKED, LIKED, PRAISE, THINGS

FEEL = ("was", "seemed", "felt", "looked")
HEDGES = ("very", "quite", "truly", "really")


def thing(rng: random.Random) -> list[str]:
    """What the opinion is about."""
    return ["the", rng.choice(rng.choice(THINGS))]


def clause(rng: random.Random, positive: bool, negation: float = 0.2) -> list[str]:
    """One opinion of the given polarity; a negated clause uses a word of the other polarity."""
    negated = rng.random() < negation
    good = positive != negated
    if rng.random() < 0.65:
        adverb = ["not"] if negated else [rng.choice(HEDGES)] if rng.random() < 0.3 else []
        return [*thing(rng), rng.choice(FEEL), *adverb, rng.choice(PRAISE if good else BLAME)]
    return [
        "nobody" if negated else rng.choice(("we", "i")),
        rng.choice(LIKED if good else DISLIKED),
        *thing(rng),
    ]


def review(rng: random.Random, positive: bool) -> list[str]:
    """One or two clauses; after `but` the second clause outweighs the first."""
    shape = rng.random()
    if shape < 0.3:
        return clause(rng, positive)
    if shape < 0.8:
        return [*clause(rng, positive), "and", *clause(rng, positive)]
    return [*clause(rng, not positive), "but", *clause(rng, positive)]
