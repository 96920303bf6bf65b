"""Inference tasks: entailment, question answering, pronouns."""

from __future__ import annotations

import random
from dataclasses import replace

from scripts.embedded import scenes, sentences
from scripts.embedded.scenes import Scene
from suites.embedded.rows import Row, add_label_noise
from suites.embedded.words import GENRES, HARBOR, TRAITS, VILLAGE, Genre

ENTAILED, NEUTRAL, CONTRADICTED = range(3)


def draw_hypothesis(rng: random.Random, scene: Scene, relation: int) -> list[str]:
    """A sentence that follows from, goes beyond or contradicts the scene."""
    short = scenes.drop_details(rng, scene, 0.6)
    if relation == ENTAILED:
        if rng.random() < 0.2:
            return sentences.draw_emphatic(rng, short, sentences.AFFIRM)
        return sentences.draw_statement(rng, short, rng.choice(("", "", "actor", "patient")))
    if relation == NEUTRAL:
        beyond = scenes.add_detail(rng, scene)
        return sentences.draw_statement(rng, beyond)
    if rng.random() < 0.2:
        return sentences.draw_emphatic(rng, short, sentences.DENY)
    return sentences.draw_statement(rng, scenes.change_slot(rng, short, rng.choice(scenes.list_slots(short))))


def draw_inference(rng: random.Random, genre: Genre, relation: int, chance: float) -> tuple[str, str, int]:
    """Premise, hypothesis and the relation with label noise."""
    scene = scenes.sample_scene(rng, genre)
    texts = sentences.draw_statement(rng, scene), draw_hypothesis(rng, scene, relation)
    return " ".join(texts[0]), " ".join(texts[1]), add_label_noise(rng, relation, 3, chance)


def draw_mnli(rng: random.Random) -> Row:
    """Three-way inference in the village genre: 0 entailment, 1 neutral, 2 contradiction."""
    premise, claim, label = draw_inference(rng, VILLAGE, rng.randrange(3), 0.05)
    return premise, claim, str(label)


def draw_mnli_mismatched(rng: random.Random) -> Row:
    """The same inference in the harbor genre, whose nouns and places do not occur in the train split."""
    premise, claim, label = draw_inference(rng, HARBOR, rng.randrange(3), 0.05)
    return premise, claim, str(label)


def draw_rte(rng: random.Random) -> Row:
    """Two-way inference: 0 entailment, 1 not."""
    # Twice as many contradictions as neutral pairs, which differ from entailed ones in a single detail.
    relation = ENTAILED if rng.random() < 0.5 else rng.choice((NEUTRAL, CONTRADICTED, CONTRADICTED))
    premise, claim, _ = draw_inference(rng, rng.choice(GENRES), relation, 0.0)
    return premise, claim, str(add_label_noise(rng, int(relation != ENTAILED), 2, 0.06))


def draw_qnli(rng: random.Random) -> Row:
    """Question and sentence: 0 where the sentence answers the question, 1 where it does not."""
    scene = scenes.sample_scene(rng, detail=0.5)
    label = rng.randrange(2)
    choices = ["actor", "patient"] if scene.place is None else ["actor", "patient", "place"]
    slot = rng.choice(choices)
    question_scene = scenes.drop_details(rng, scene, 0.4)
    # A question that the sentence leaves open is as unanswerable as one about another scene.
    if label and scene.place is None and rng.random() < 0.6:
        slot = "place"
    elif label:
        changeable = [name for name in ("actor", "verb", "patient") if name != slot]
        for name in changeable if rng.random() < 0.5 else [rng.choice(changeable)]:
            question_scene = scenes.change_slot(rng, question_scene, name)
    texts = sentences.draw_question(rng, question_scene, slot), sentences.draw_statement(rng, scene)
    return " ".join(texts[0]), " ".join(texts[1]), str(add_label_noise(rng, label, 2, 0.06))


def draw_wnli(rng: random.Random) -> Row:
    """Pronoun: 1 where `it` is the named participant, which depends on the trait that explains the deed."""
    scene = replace(scenes.sample_scene(rng, detail=0.0), plural=False)
    number = rng.randrange(len(TRAITS))
    trait = TRAITS[number]
    reason = ["because", "it", "is", rng.choice(trait.words)]
    named = rng.randrange(2)
    claim = sentences.draw_trait_sentence(rng, (scene.actor, scene.patient)[named], False, trait.words)
    # Poles alternate in TRAITS: the first pole explains the actor's deed, the second the patient's part.
    label = int((number % 2 == 0) == (named == 0))
    text = [*sentences.draw_active(rng, scene), *reason]
    return " ".join(text), " ".join(claim), str(add_label_noise(rng, label, 2, 0.15))
