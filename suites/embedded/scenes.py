"""Scenes of the generated world and the sentences that describe them."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from suites.embedded.words import GENRES, TRAITS, VERBS, Genre, Noun, Pair, Trait

DOUBLED = ("drag", "drop", "tap", "grab", "scrub")


@dataclass(frozen=True)
class Scene:
    """Who does what to whom, where; None marks what the scene leaves open."""

    genre: Genre
    actor: Noun
    plural: bool
    trait: Trait | None
    verb: Pair
    patient: Noun
    patient_trait: Trait | None
    place: Pair | None


def third(base: str) -> str:
    """Third person singular of a verb."""
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("sh", "ch", "x")) else "s")


def participle(base: str) -> str:
    """Past participle of a verb."""
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + (base[-1] if base in DOUBLED else "") + "ed"


def plural_of(noun: str) -> str:
    """Plural of a noun."""
    if noun == "loaf":
        return "loaves"
    return noun + ("es" if noun.endswith(("ch", "sh")) else "s")


def maybe_trait(rng: random.Random, chance: float) -> Trait | None:
    """A random trait with the given chance."""
    return rng.choice(TRAITS) if rng.random() < chance else None


def sample_scene(rng: random.Random, genre: Genre | None = None, detail: float = 0.35) -> Scene:
    """Draw a scene; `detail` is the chance of each optional slot."""
    world = genre or rng.choice(GENRES)
    actor = rng.choice(world.actors)
    patients = [noun for noun in world.actors + world.objects if noun is not actor]
    return Scene(
        genre=world,
        actor=actor,
        plural=rng.random() < 0.3,
        trait=maybe_trait(rng, detail),
        verb=rng.choice(VERBS),
        patient=rng.choice(patients),
        patient_trait=maybe_trait(rng, detail / 2),
        place=rng.choice(world.places) if rng.random() < 0.7 * detail else None,
    )


def determiner(rng: random.Random, plural: bool) -> str:
    """Mostly `the`, at times a demonstrative that must agree."""
    if rng.random() < 0.75:
        return "the"
    return rng.choice(("these", "those") if plural else ("this", "that"))


def noun_phrase(
    rng: random.Random, noun: Noun, plural: bool, trait: Trait | None, broad: bool = False
) -> list[str]:
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


AFFIRM = ("indeed", "surely")
DENY = ("not", "never")


def statement(rng: random.Random, scene: Scene, broad: str = "") -> list[str]:
    """Active or passive statement."""
    return (passive if rng.random() < 0.25 else active)(rng, scene, broad)


def trait_sentence(
    rng: random.Random, noun: Noun, plural: bool, words: Pair, particle: str = ""
) -> list[str]:
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


def other_noun(rng: random.Random, scene: Scene, noun: Noun) -> Noun:
    """Another noun of the genre, of the same group and not yet in the scene."""
    group = scene.genre.actors if noun in scene.genre.actors else scene.genre.objects
    return rng.choice([item for item in group if item not in (scene.actor, scene.patient)])


def slots_of(scene: Scene) -> list[str]:
    """Names of the slots that the scene fills."""
    optional = [name for name in ("trait", "patient_trait", "place") if getattr(scene, name) is not None]
    return ["actor", "verb", "patient", *optional]


def flip(trait: Trait) -> Trait:
    """The opposite pole of a trait."""
    return Trait(trait.opposite, trait.words)


def altered(rng: random.Random, scene: Scene, slot: str) -> Scene:
    """The scene with one slot changed so that it no longer describes the same thing."""
    if slot == "actor":
        return replace(scene, actor=other_noun(rng, scene, scene.actor))
    if slot == "patient":
        return replace(scene, patient=other_noun(rng, scene, scene.patient))
    if slot == "verb":
        return replace(scene, verb=rng.choice([verb for verb in VERBS if verb != scene.verb]))
    if slot == "place":
        return replace(scene, place=rng.choice([item for item in scene.genre.places if item != scene.place]))
    if slot == "trait":
        return replace(scene, trait=flip(scene.trait) if scene.trait else rng.choice(TRAITS))
    return replace(
        scene, patient_trait=flip(scene.patient_trait) if scene.patient_trait else rng.choice(TRAITS)
    )


def reduced(rng: random.Random, scene: Scene, keep: float = 0.4) -> Scene:
    """The scene with some optional detail left out: what it says still holds."""
    dropped = {name: None for name in ("trait", "patient_trait", "place") if rng.random() > keep}
    return replace(scene, **dropped)  # type: ignore[arg-type]


def extended(rng: random.Random, scene: Scene) -> Scene:
    """The scene with one open slot filled: it now says more than before."""
    free = [name for name in ("trait", "patient_trait", "place") if getattr(scene, name) is None]
    if not free:
        return replace(scene, patient_trait=rng.choice(TRAITS))
    name = rng.choice(free)
    if name == "place":
        return replace(scene, place=rng.choice(scene.genre.places))
    return (
        replace(scene, trait=rng.choice(TRAITS))
        if name == "trait"
        else replace(scene, patient_trait=rng.choice(TRAITS))
    )
