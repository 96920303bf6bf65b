"""Unlabelled pretraining text: single sentences, and pairs of sentences about the same scene."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from scripts.embedded import scenes, sentences
from scripts.embedded.scenes import Scene
from suites.embedded import reviews
from suites.embedded.words import TRAITS

Pair = tuple[list[str], list[str]]


def draw_restatement(rng: random.Random, scene: Scene) -> Pair:
    """Two statements of the same scene."""
    return sentences.draw_statement(rng, scene), sentences.draw_statement(rng, scene)


def draw_summary(rng: random.Random, scene: Scene) -> Pair:
    """A scene and a shorter or more general statement of it, in either order."""
    broad = rng.choice(("", "actor", "patient"))
    pair = sentences.draw_statement(rng, scene), sentences.draw_statement(rng, scenes.drop_details(rng, scene), broad)
    return pair if rng.random() < 0.7 else (pair[1], pair[0])


def draw_question_answer(rng: random.Random, scene: Scene) -> Pair:
    """A question about a scene and the scene that answers it."""
    # Places are asked about twice as often, because only some scenes have one.
    slot = rng.choice(["actor", "patient"] + ["place"] * 2 * (scene.place is not None))
    query = sentences.draw_question(rng, scenes.drop_details(rng, scene, 0.5), slot)
    return query, sentences.draw_statement(rng, scene)


def draw_question_pair(rng: random.Random, scene: Scene) -> Pair:
    """The same question in two wordings."""
    slot = rng.choice(("actor", "patient", "place"))
    return sentences.draw_question(rng, scene, slot), sentences.draw_question(rng, scene, slot)


def draw_affirmation(rng: random.Random, scene: Scene) -> Pair:
    """A scene, then a true statement about it with `indeed`, or a false one with `never` or `not`."""
    short = scenes.drop_details(rng, scene)
    if rng.random() < 0.5:
        return sentences.draw_statement(rng, scene), sentences.draw_emphatic(rng, short, sentences.AFFIRM)
    # A denial of a changed scene is true, so the pair still belongs together.
    wrong = scenes.change_slot(rng, short, rng.choice(scenes.list_slots(short)))
    return sentences.draw_statement(rng, scene), sentences.draw_emphatic(rng, wrong, sentences.DENY)


def draw_description(rng: random.Random, scene: Scene) -> Pair:
    """A scene, then a sentence about the trait of its actor."""
    trait = scene.trait or rng.choice(TRAITS)
    trait_scene = replace(scene, trait=trait)
    if rng.random() < 0.5:
        particle = rng.choice(("", *sentences.AFFIRM))
        return sentences.draw_statement(rng, trait_scene), sentences.draw_trait_sentence(
            rng, trait_scene.actor, trait_scene.plural, trait.words, particle
        )
    denied = sentences.draw_trait_sentence(
        rng, trait_scene.actor, trait_scene.plural, trait.opposite, rng.choice(sentences.DENY)
    )
    return sentences.draw_statement(rng, trait_scene), denied


def draw_opinions(rng: random.Random, scene: Scene) -> Pair:
    """Two opinions with the same polarity."""
    positive = rng.random() < 0.5
    return reviews.draw_review(rng, positive), reviews.draw_clause(rng, positive)


# Shares follow the tasks: restatements serve MRPC and STS-B, summaries and affirmations MNLI and RTE, questions QNLI
# and QQP, opinions SST-2.
KINDS: tuple[tuple[Callable[[random.Random, Scene], Pair], float], ...] = (
    (draw_restatement, 0.24),
    (draw_summary, 0.2),
    (draw_question_answer, 0.14),
    (draw_question_pair, 0.1),
    (draw_affirmation, 0.1),
    (draw_description, 0.06),
    (draw_opinions, 0.18),
)


def draw_related_pair(rng: random.Random) -> Pair:
    """One pair of sentences that belong together."""
    kinds, weights = zip(*KINDS, strict=True)
    make = rng.choices(kinds, weights)[0]
    pair: Pair = make(rng, scenes.sample_scene(rng))
    return pair


def draw_single(rng: random.Random) -> list[str]:
    """One sentence on its own."""
    first, second = draw_related_pair(rng)
    return first if rng.random() < 0.5 else second


def draw_text_pairs(seed: int, count: int) -> list[Pair]:
    """The pretraining text; a single sentence has an empty second part."""
    rng = random.Random(f"corpus-{seed}")
    # Some single sentences, because CoLA and SST-2 have no second text.
    return [(draw_single(rng), []) if rng.random() < 0.15 else draw_related_pair(rng) for _ in range(count)]
