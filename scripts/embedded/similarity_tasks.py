"""Similarity tasks: paraphrases, duplicate questions, graded similarity."""

from __future__ import annotations

import random
from dataclasses import replace

from scripts.embedded import scenes, sentences
from scripts.embedded.scenes import Scene
from suites.embedded.rows import Row, add_label_noise

# Unequal, so that the number of changed words does not determine the score.
WEIGHT = {"actor": 1.0, "verb": 3.0, "patient": 0.5, "trait": 1.5, "patient_trait": 0.3, "place": 0.3}


def exchange_roles(scene: Scene) -> Scene:
    """The scene with the roles of actor and patient exchanged."""
    return replace(scene, actor=scene.patient, patient=scene.actor, plural=False)


def draw_unlike_scene(rng: random.Random, scene: Scene) -> Scene:
    """A scene that shares most words with the given one but is not the same."""
    # Exchanged roles keep every word, so that a bag of words cannot solve the task.
    if rng.random() < 0.5 and scene.patient in scene.genre.actors and not scene.plural:
        return exchange_roles(scene)
    changed = rng.sample(scenes.list_slots(scene), rng.choice((1, 1, 2)))
    for slot in changed:
        scene = scenes.change_slot(rng, scene, slot)
    return scene


def draw_mrpc(rng: random.Random) -> Row:
    """Paraphrase: 1 where both sentences state the same scene."""
    scene = scenes.sample_scene(rng)
    label = int(rng.random() < 0.55)
    other = scene if label else draw_unlike_scene(rng, scene)
    texts = sentences.draw_statement(rng, scene), sentences.draw_statement(rng, other)
    return " ".join(texts[0]), " ".join(texts[1]), str(add_label_noise(rng, label, 2, 0.07))


def draw_qqp(rng: random.Random) -> Row:
    """Duplicate questions: 1 where both ask for the same thing about the same scene."""
    scene = scenes.sample_scene(rng, detail=0.3)
    slot = rng.choice(("actor", "patient", "place"))
    label = int(rng.random() < 0.42)
    other, other_slot = scene, slot
    if not label and rng.random() < 0.4:
        other_slot = rng.choice([name for name in ("actor", "patient", "place") if name != slot])
    elif not label:
        changeable = [name for name in ("actor", "verb", "patient") if name != slot]
        for name in rng.sample(changeable, rng.choice((1, 1, 2))):
            other = scenes.change_slot(rng, other, name)
    texts = sentences.draw_question(rng, scene, slot), sentences.draw_question(rng, other, other_slot)
    return " ".join(texts[0]), " ".join(texts[1]), str(add_label_noise(rng, label, 2, 0.07))


def draw_stsb(rng: random.Random) -> Row:
    """Similarity from 0 to 5: the weighted share of equal slots, with noise as of human raters."""
    scene = scenes.sample_scene(rng)
    slots = scenes.list_slots(scene)
    changed = rng.sample(slots, rng.randrange(len(slots) + 1))
    other = scene
    for slot in changed:
        other = scenes.change_slot(rng, other, slot)
    agreed = 1 - sum(WEIGHT[slot] for slot in changed) / sum(WEIGHT[slot] for slot in slots)
    score = min(5.0, max(0.0, 5 * agreed + rng.gauss(0, 0.6)))
    texts = sentences.draw_statement(rng, scene), sentences.draw_statement(rng, other)
    return " ".join(texts[0]), " ".join(texts[1]), f"{score:.2f}"
