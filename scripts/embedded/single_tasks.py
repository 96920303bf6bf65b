"""Acceptability of single sentences; sentiment is in suites/embedded/rows.py."""

from __future__ import annotations

import itertools
import random

from scripts.embedded import scenes, sentences
from scripts.embedded.scenes import Scene
from suites.embedded import morphology
from suites.embedded.rows import Row, add_label_noise
from suites.embedded.words import VERBS


def swap_neighbours(rng: random.Random, words: list[str]) -> list[str]:
    """The words with two neighbours exchanged."""
    spot = rng.randrange(len(words) - 1)
    return [*words[:spot], words[spot + 1], words[spot], *words[spot + 2 :]]


def break_verb_form(rng: random.Random, words: list[str]) -> list[str]:
    """The words with each verb in another, ungrammatical form."""
    wrong_forms: dict[str, list[str]] = {}
    for base in itertools.chain.from_iterable(VERBS):
        forms = (base, morphology.form_third_person(base), morphology.form_participle(base))
        for form in forms:
            wrong_forms[form] = [other for other in forms if other != form]
    return [rng.choice(wrong_forms[word]) if word in wrong_forms else word for word in words]


def break_number(rng: random.Random, scene: Scene, words: list[str]) -> list[str]:
    """The words with the actor in the other number, so that it disagrees with verb or determiner."""
    nouns = {word: morphology.form_plural(word) for noun in (scene.actor, scene.patient) for word in noun.words}
    back = {plural: word for word, plural in nouns.items()}
    names = set(scene.actor.words) | {morphology.form_plural(word) for word in scene.actor.words}
    return [nouns.get(word) or back.get(word) or word if word in names else word for word in words]


def break_grammar(rng: random.Random, scene: Scene, words: list[str]) -> list[str]:
    """The sentence with one grammatical error."""
    fault = rng.random()
    if fault < 0.3:
        return swap_neighbours(rng, words)
    return break_verb_form(rng, words) if fault < 0.7 else break_number(rng, scene, words)


def draw_cola(rng: random.Random) -> Row:
    """Acceptability: 1 for a grammatical sentence, 0 for one with an error."""
    scene = scenes.sample_scene(rng)
    words = sentences.draw_statement(rng, scene)
    if rng.random() < 0.3:
        words = sentences.draw_question(rng, scene, rng.choice(("actor", "patient")))
    label = int(rng.random() < 0.6)
    text = words if label else break_grammar(rng, scene, words)
    return " ".join(text), str(add_label_noise(rng, label, 2, 0.03))
