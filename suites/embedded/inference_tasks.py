"""Tasks on what follows from a sentence: entailment, answers, pronouns."""

from __future__ import annotations

import random
from dataclasses import replace

from suites.embedded import scenes, sentences
from suites.embedded.scenes import Scene
from suites.embedded.single_tasks import Row, noisy
from suites.embedded.words import GENRES, HARBOR, TRAITS, VILLAGE, Genre

ENTAILED, NEUTRAL, CONTRADICTED = range(3)


def hypothesis(rng: random.Random, scene: Scene, relation: int) -> list[str]:
    """A sentence that follows from, goes beyond or contradicts the scene."""
    short = scenes.reduced(rng, scene, 0.6)
    if relation == ENTAILED:
        if rng.random() < 0.2:
            return sentences.emphatic(rng, short, sentences.AFFIRM)
        return sentences.statement(rng, short, rng.choice(("", "", "actor", "patient")))
    if relation == NEUTRAL:
        beyond = scenes.extended(rng, scene)
        return sentences.statement(rng, beyond)
    if rng.random() < 0.2:
        return sentences.emphatic(rng, short, sentences.DENY)
    return sentences.statement(rng, scenes.altered(rng, short, rng.choice(scenes.slots_of(short))))


def inference(rng: random.Random, genre: Genre, relation: int, chance: float) -> tuple[str, str, int]:
    """Premise, hypothesis and the relation as a rater would give it."""
    scene = scenes.sample_scene(rng, genre)
    texts = sentences.statement(rng, scene), hypothesis(rng, scene, relation)
    return " ".join(texts[0]), " ".join(texts[1]), noisy(rng, relation, 3, chance)


def mnli(rng: random.Random) -> Row:
    """Three-way inference in the village genre: 0 entailment, 1 neutral, 2 contradiction."""
    premise, claim, label = inference(rng, VILLAGE, rng.randrange(3), 0.05)
    return premise, claim, str(label)


def mnli_mismatched(rng: random.Random) -> Row:
    """The same inference in the harbor genre, whose nouns and places the train split lacks."""
    premise, claim, label = inference(rng, HARBOR, rng.randrange(3), 0.05)
    return premise, claim, str(label)


def rte(rng: random.Random) -> Row:
    """Two-way inference: 0 entailment, 1 not."""
    relation = ENTAILED if rng.random() < 0.5 else rng.choice((NEUTRAL, CONTRADICTED, CONTRADICTED))
    premise, claim, _ = inference(rng, rng.choice(GENRES), relation, 0.0)
    return premise, claim, str(noisy(rng, int(relation != ENTAILED), 2, 0.06))


def qnli(rng: random.Random) -> Row:
    """Question and sentence: 0 where the sentence answers the question, 1 where it does not."""
    scene = scenes.sample_scene(rng, detail=0.5)
    label = rng.randrange(2)
    choices = ["actor", "patient"] if scene.place is None else ["actor", "patient", "place"]
    slot = rng.choice(choices)
    asked = scenes.reduced(rng, scene, 0.4)
    if label and scene.place is None and rng.random() < 0.6:
        slot = "place"
    elif label:
        told = [name for name in ("actor", "verb", "patient") if name != slot]
        for name in told if rng.random() < 0.5 else [rng.choice(told)]:
            asked = scenes.altered(rng, asked, name)
    texts = sentences.question(rng, asked, slot), sentences.statement(rng, scene)
    return " ".join(texts[0]), " ".join(texts[1]), str(noisy(rng, label, 2, 0.06))


def wnli(rng: random.Random) -> Row:
    """Pronoun: 1 where `it` is the named participant; some traits explain a deed, others invite it."""
    scene = replace(scenes.sample_scene(rng, detail=0.0), plural=False)
    number = rng.randrange(len(TRAITS))
    trait = TRAITS[number]
    reason = ["because", "it", "is", rng.choice(trait.words)]
    named = rng.randrange(2)
    claim = sentences.trait_sentence(rng, (scene.actor, scene.patient)[named], False, trait.words)
    label = int((number % 2 == 0) == (named == 0))
    text = [*sentences.active(rng, scene), *reason]
    return " ".join(text), " ".join(claim), str(noisy(rng, label, 2, 0.15))
