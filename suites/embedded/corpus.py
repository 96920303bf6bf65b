"""Unlabelled pretraining text: single sentences and pairs that talk about the same scene."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from suites.embedded import reviews, scenes, sentences
from suites.embedded.scenes import Scene
from suites.embedded.words import TRAITS

Pair = tuple[list[str], list[str]]


def restated(rng: random.Random, scene: Scene) -> Pair:
    """The same scene told twice."""
    return sentences.statement(rng, scene), sentences.statement(rng, scene)


def summarised(rng: random.Random, scene: Scene) -> Pair:
    """A scene and a shorter or broader telling of it, in either order."""
    broad = rng.choice(("", "actor", "patient"))
    pair = sentences.statement(rng, scene), sentences.statement(rng, scenes.reduced(rng, scene), broad)
    return pair if rng.random() < 0.7 else (pair[1], pair[0])


def asked(rng: random.Random, scene: Scene) -> Pair:
    """A question about a scene and the scene that answers it."""
    slot = rng.choice(["actor", "patient"] + ["place"] * 2 * (scene.place is not None))
    query = sentences.question(rng, scenes.reduced(rng, scene, 0.5), slot)
    return query, sentences.statement(rng, scene)


def asked_twice(rng: random.Random, scene: Scene) -> Pair:
    """The same question in two wordings."""
    slot = rng.choice(("actor", "patient", "place"))
    return sentences.question(rng, scene, slot), sentences.question(rng, scene, slot)


def affirmed(rng: random.Random, scene: Scene) -> Pair:
    """A scene, then what indeed holds of it or what does not."""
    short = scenes.reduced(rng, scene)
    if rng.random() < 0.5:
        return sentences.statement(rng, scene), sentences.emphatic(rng, short, sentences.AFFIRM)
    wrong = scenes.altered(rng, short, rng.choice(scenes.slots_of(short)))
    return sentences.statement(rng, scene), sentences.emphatic(rng, wrong, sentences.DENY)


def described(rng: random.Random, scene: Scene) -> Pair:
    """A scene, then a sentence on the trait of its actor."""
    trait = scene.trait or rng.choice(TRAITS)
    told = replace(scene, trait=trait)
    if rng.random() < 0.5:
        particle = rng.choice(("", *sentences.AFFIRM))
        return sentences.statement(rng, told), sentences.trait_sentence(
            rng, told.actor, told.plural, trait.words, particle
        )
    denied = sentences.trait_sentence(rng, told.actor, told.plural, trait.opposite, rng.choice(sentences.DENY))
    return sentences.statement(rng, told), denied


def opinions(rng: random.Random, scene: Scene) -> Pair:
    """Two opinions of one mind."""
    positive = rng.random() < 0.5
    return reviews.review(rng, positive), reviews.clause(rng, positive)


KINDS: tuple[tuple[Callable[[random.Random, Scene], Pair], float], ...] = (
    (restated, 0.24),
    (summarised, 0.2),
    (asked, 0.14),
    (asked_twice, 0.1),
    (affirmed, 0.1),
    (described, 0.06),
    (opinions, 0.18),
)


def related_pair(rng: random.Random) -> Pair:
    """One pair of sentences that belong together."""
    kinds, weights = zip(*KINDS, strict=True)
    make = rng.choices(kinds, weights)[0]
    pair: Pair = make(rng, scenes.sample_scene(rng))
    return pair


def single(rng: random.Random) -> list[str]:
    """One sentence on its own."""
    first, second = related_pair(rng)
    return first if rng.random() < 0.5 else second


def text_pairs(seed: int, count: int) -> list[Pair]:
    """The pretraining text; a single sentence has an empty second part."""
    rng = random.Random(f"corpus-{seed}")
    return [(single(rng), []) if rng.random() < 0.15 else related_pair(rng) for _ in range(count)]
