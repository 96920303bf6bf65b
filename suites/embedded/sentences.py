"""Sentences that describe a scene: statements, questions, denials."""

from __future__ import annotations

import random

from suites.embedded.morphology import participle, plural_of, third
from suites.embedded.scenes import Scene
from suites.embedded.words import Noun, Pair, Trait

AFFIRM = ("indeed", "surely")
DENY = ("not", "never")


def determiner(rng: random.Random, plural: bool) -> str:
    """Mostly `the`, at times a demonstrative that must agree."""
    if rng.random() < 0.75:
        return "the"
    return rng.choice(("these", "those") if plural else ("this", "that"))


def noun_phrase(rng: random.Random, noun: Noun, plural: bool, trait: Trait | None, broad: bool = False) -> list[str]:
    """Words for a noun, by its kind instead of its name where `broad`."""
    word = noun.kind if broad else rng.choice(noun.words)
    adjective = [rng.choice(trait.words)] if trait else []
    return [determiner(rng, plural), *adjective, plural_of(word) if plural else word]


def place_phrase(rng: random.Random, scene: Scene) -> list[str]:
    """Words for where the scene takes place; empty where that is left open."""
    return [rng.choice(("near", "beside")), "the", rng.choice(scene.place)] if scene.place else []


def actor_phrase(rng: random.Random, scene: Scene, broad: bool = False) -> list[str]:
    """Words for the actor."""
    return noun_phrase(rng, scene.actor, scene.plural, scene.trait, broad)


def patient_phrase(rng: random.Random, scene: Scene, broad: bool = False) -> list[str]:
    """Words for the patient."""
    return noun_phrase(rng, scene.patient, False, scene.patient_trait, broad)


def active(rng: random.Random, scene: Scene, broad: str = "") -> list[str]:
    """Plain statement; `broad` names the participant that is told only by its kind."""
    base = rng.choice(scene.verb)
    verb = base if scene.plural else third(base)
    actor = actor_phrase(rng, scene, broad == "actor")
    return [*actor, verb, *patient_phrase(rng, scene, broad == "patient"), *place_phrase(rng, scene)]


def passive(rng: random.Random, scene: Scene, broad: str = "") -> list[str]:
    """Passive statement of the same scene."""
    verb = ["is", participle(rng.choice(scene.verb)), "by"]
    patient = patient_phrase(rng, scene, broad == "patient")
    return [*patient, *verb, *actor_phrase(rng, scene, broad == "actor"), *place_phrase(rng, scene)]


def emphatic(rng: random.Random, scene: Scene, particles: tuple[str, ...]) -> list[str]:
    """Statement with do-support and a particle: `indeed` affirms it, `never` denies it."""
    head = [*actor_phrase(rng, scene), "do" if scene.plural else "does", rng.choice(particles)]
    return [*head, rng.choice(scene.verb), *patient_phrase(rng, scene), *place_phrase(rng, scene)]


def statement(rng: random.Random, scene: Scene, broad: str = "") -> list[str]:
    """Active or passive statement."""
    return (passive if rng.random() < 0.25 else active)(rng, scene, broad)


def trait_sentence(rng: random.Random, noun: Noun, plural: bool, words: Pair, particle: str = "") -> list[str]:
    """Say that a noun has (or, with a denying particle, lacks) a trait."""
    subject = noun_phrase(rng, noun, plural, None)
    return [*subject, "are" if plural else "is", *([particle] if particle else []), rng.choice(words)]


def question(rng: random.Random, scene: Scene, slot: str) -> list[str]:
    """Question about the actor, the patient or the place of a scene."""
    if slot == "actor":
        base = rng.choice(scene.verb)
        asked = ["who", third(base)] if rng.random() < 0.5 else ["which", scene.actor.kind, third(base)]
        return [*asked, *patient_phrase(rng, scene), *place_phrase(rng, scene), "?"]
    asked = [{"patient": "what", "place": "where"}[slot], "do" if scene.plural else "does"]
    body = [*asked, *actor_phrase(rng, scene), rng.choice(scene.verb)]
    tail = patient_phrase(rng, scene) if slot == "place" else place_phrase(rng, scene)
    return [*body, *tail, "?"]
