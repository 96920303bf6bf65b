"""Sentences that describe a scene: statements, questions, negations."""

from __future__ import annotations

import random

from scripts.embedded.scenes import Scene
from suites.embedded.morphology import form_participle, form_plural, form_third_person
from suites.embedded.words import AFFIRM as AFFIRM, DENY as DENY, Noun, Pair, Trait


def draw_determiner(rng: random.Random, plural: bool) -> str:
    """`the`, or with probability 1/4 a demonstrative that agrees in number."""
    if rng.random() < 0.75:
        return "the"
    return rng.choice(("these", "those") if plural else ("this", "that"))


def draw_noun_phrase(
    rng: random.Random, noun: Noun, plural: bool, trait: Trait | None, broad: bool = False
) -> list[str]:
    """A noun phrase; with `broad`, the hypernym instead of the noun."""
    word = noun.kind if broad else rng.choice(noun.words)
    adjective = [rng.choice(trait.words)] if trait else []
    return [draw_determiner(rng, plural), *adjective, form_plural(word) if plural else word]


def draw_place_phrase(rng: random.Random, scene: Scene) -> list[str]:
    """The place of the scene; empty where it is not specified."""
    return [rng.choice(("near", "beside")), "the", rng.choice(scene.place)] if scene.place else []


def draw_actor_phrase(rng: random.Random, scene: Scene, broad: bool = False) -> list[str]:
    """Words for the actor."""
    return draw_noun_phrase(rng, scene.actor, scene.plural, scene.trait, broad)


def draw_patient_phrase(rng: random.Random, scene: Scene, broad: bool = False) -> list[str]:
    """Words for the patient."""
    return draw_noun_phrase(rng, scene.patient, False, scene.patient_trait, broad)


def draw_active(rng: random.Random, scene: Scene, broad: str = "") -> list[str]:
    """An active statement; `broad` names the participant that is given by its hypernym."""
    base = rng.choice(scene.verb)
    verb = base if scene.plural else form_third_person(base)
    actor = draw_actor_phrase(rng, scene, broad == "actor")
    return [*actor, verb, *draw_patient_phrase(rng, scene, broad == "patient"), *draw_place_phrase(rng, scene)]


def draw_passive(rng: random.Random, scene: Scene, broad: str = "") -> list[str]:
    """Passive statement of the same scene."""
    verb = ["is", form_participle(rng.choice(scene.verb)), "by"]
    patient = draw_patient_phrase(rng, scene, broad == "patient")
    return [*patient, *verb, *draw_actor_phrase(rng, scene, broad == "actor"), *draw_place_phrase(rng, scene)]


def draw_emphatic(rng: random.Random, scene: Scene, particles: tuple[str, ...]) -> list[str]:
    """Statement with do-support and a particle: `indeed` affirms it, `never` denies it."""
    head = [*draw_actor_phrase(rng, scene), "do" if scene.plural else "does", rng.choice(particles)]
    return [*head, rng.choice(scene.verb), *draw_patient_phrase(rng, scene), *draw_place_phrase(rng, scene)]


def draw_statement(rng: random.Random, scene: Scene, broad: str = "") -> list[str]:
    """Active or passive statement."""
    return (draw_passive if rng.random() < 0.25 else draw_active)(rng, scene, broad)


def draw_trait_sentence(rng: random.Random, noun: Noun, plural: bool, words: Pair, particle: str = "") -> list[str]:
    """Say that a noun has (or, with a denying particle, lacks) a trait."""
    subject = draw_noun_phrase(rng, noun, plural, None)
    return [*subject, "are" if plural else "is", *([particle] if particle else []), rng.choice(words)]


def draw_question(rng: random.Random, scene: Scene, slot: str) -> list[str]:
    """Question about the actor, the patient or the place of a scene."""
    if slot == "actor":
        base = rng.choice(scene.verb)
        opening = (
            ["who", form_third_person(base)]
            if rng.random() < 0.5
            else ["which", scene.actor.kind, form_third_person(base)]
        )
        return [*opening, *draw_patient_phrase(rng, scene), *draw_place_phrase(rng, scene), "?"]
    opening = [{"patient": "what", "place": "where"}[slot], "do" if scene.plural else "does"]
    body = [*opening, *draw_actor_phrase(rng, scene), rng.choice(scene.verb)]
    tail = draw_patient_phrase(rng, scene) if slot == "place" else draw_place_phrase(rng, scene)
    return [*body, *tail, "?"]
