"""Scenes that the generated sentences describe, and changes of scenes."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from suites.embedded.words import GENRES, TRAITS, VERBS, Genre, Noun, Pair, Trait


@dataclass(frozen=True)
class Scene:
    """Who does what to whom, and where; None marks a slot that is not specified."""

    genre: Genre
    actor: Noun
    plural: bool
    trait: Trait | None
    verb: Pair
    patient: Noun
    patient_trait: Trait | None
    place: Pair | None


def draw_trait(rng: random.Random, chance: float) -> Trait | None:
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
        trait=draw_trait(rng, detail),
        verb=rng.choice(VERBS),
        patient=rng.choice(patients),
        patient_trait=draw_trait(rng, detail / 2),
        place=rng.choice(world.places) if rng.random() < 0.7 * detail else None,
    )


def draw_other_noun(rng: random.Random, scene: Scene, noun: Noun) -> Noun:
    """Another noun of the genre, of the same group and not yet in the scene."""
    # From the same group, so that a changed sentence stays plausible and its label cannot be guessed from grammar.
    group = scene.genre.actors if noun in scene.genre.actors else scene.genre.objects
    return rng.choice([item for item in group if item not in (scene.actor, scene.patient)])


def list_slots(scene: Scene) -> list[str]:
    """Names of the slots that the scene fills."""
    optional = [name for name in ("trait", "patient_trait", "place") if getattr(scene, name) is not None]
    return ["actor", "verb", "patient", *optional]


def flip_trait(trait: Trait) -> Trait:
    """The opposite pole of a trait."""
    return Trait(trait.opposite, trait.words)


def change_slot(rng: random.Random, scene: Scene, slot: str) -> Scene:
    """The scene with one slot changed: a statement of it is false of the original."""
    if slot == "actor":
        return replace(scene, actor=draw_other_noun(rng, scene, scene.actor))
    if slot == "patient":
        return replace(scene, patient=draw_other_noun(rng, scene, scene.patient))
    if slot == "verb":
        return replace(scene, verb=rng.choice([verb for verb in VERBS if verb != scene.verb]))
    if slot == "place":
        return replace(scene, place=rng.choice([item for item in scene.genre.places if item != scene.place]))
    if slot == "trait":
        return replace(scene, trait=flip_trait(scene.trait) if scene.trait else rng.choice(TRAITS))
    return replace(scene, patient_trait=flip_trait(scene.patient_trait) if scene.patient_trait else rng.choice(TRAITS))


def drop_details(rng: random.Random, scene: Scene, keep: float = 0.4) -> Scene:
    """The scene without some optional details: a statement of it is still true of the original."""
    dropped = {name: None for name in ("trait", "patient_trait", "place") if rng.random() > keep}
    return replace(scene, **dropped)  # type: ignore[arg-type]


def add_detail(rng: random.Random, scene: Scene) -> Scene:
    """The scene with one more slot specified: a statement of it does not follow from the original."""
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
