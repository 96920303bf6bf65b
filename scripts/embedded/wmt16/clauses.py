"""The content of a sentence pair, which wording.py renders in both languages."""

from __future__ import annotations

import random
from dataclasses import dataclass

from scripts.embedded import scenes
from suites.embedded.words import GENRES, Genre, Noun, Trait

PAST_TIMES, PRESENT_TIMES = ("yesterday", "today"), ("now", "always")
JOINERS = ("and", "but", "because")


@dataclass(frozen=True)
class Phrase:
    """A noun phrase; with `pointed` it has a demonstrative instead of the article."""

    noun: str
    plural: bool
    adjective: str | None
    pointed: bool


@dataclass(frozen=True)
class Clause:
    """Who does what to whom, where and when."""

    actor: Phrase
    verb: str
    patient: Phrase
    place: str | None
    past: bool
    passive: bool
    denied: bool
    when: str | None


def draw_phrase(rng: random.Random, noun: Noun, plural: bool, trait: Trait | None) -> Phrase:
    """Choose the words of a noun phrase."""
    return Phrase(rng.choice(noun.words), plural, rng.choice(trait.words) if trait else None, rng.random() < 0.2)


def draw_clause(rng: random.Random, genre: Genre) -> Clause:
    """Draw a clause."""
    scene = scenes.sample_scene(rng, genre, detail=0.5)
    # Drawn before the time of day, which has to agree with the tense.
    past = rng.random() < 0.5
    return Clause(
        actor=draw_phrase(rng, scene.actor, scene.plural, scene.trait),
        verb=rng.choice(scene.verb),
        patient=draw_phrase(rng, scene.patient, rng.random() < 0.3, scene.patient_trait),
        place=rng.choice(scene.place) if scene.place else None,
        past=past,
        passive=rng.random() < 0.2,
        denied=rng.random() < 0.15,
        when=rng.choice(PAST_TIMES if past else PRESENT_TIMES) if rng.random() < 0.25 else None,
    )


@dataclass(frozen=True)
class Statement:
    """One clause, or two with a joining word."""

    first: Clause
    joiner: str | None = None
    second: Clause | None = None


def draw_statement(rng: random.Random) -> Statement:
    """Draw a sentence."""
    # One genre for both clauses: a village farmer and a harbour whale in one sentence would be odd.
    genre = rng.choice(GENRES)
    first = draw_clause(rng, genre)
    return Statement(first, rng.choice(JOINERS), draw_clause(rng, genre)) if rng.random() < 0.2 else Statement(first)
