"""The toy world of the exams: per subject twelve invented things, two properties, and which thing has which value."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cache

THINGS_PER_SUBJECT = 12
# Of the twelve values of a property so many are dealt anew, so that no one who knows the text knows all.
CHANGED = 5
ONSETS, VOWELS, CODAS = "b d f g k l m n p r s t v z dr kr tr pl sk".split(), "a e i o u".split(), "n r l x m k".split()


@dataclass(frozen=True)
class Subject:
    """A subject: its MMLU name, and two properties with the values each can take."""

    name: str
    properties: dict[str, tuple[str, ...]]


def _subject(name: str, **properties: str) -> Subject:
    """Read the values of each property from one string."""
    return Subject(name, {word: tuple(values.split()) for word, values in properties.items()})


SUBJECTS = (
    # STEM
    _subject(
        "astronomy",
        glow="red blue white amber violet pale",
        orbit="round oval tilted double broken spiral",
    ),
    _subject(
        "college_biology",
        skin="scaly furry smooth spiny striped spotted",
        diet="seeds leaves roots fish moss wood",
    ),
    _subject(
        "college_chemistry",
        smell="sweet sour smoky salty bitter musty",
        state="solid liquid gas gel foam powder",
    ),
    # humanities
    _subject(
        "philosophy",
        virtue="courage justice wisdom mercy patience honour",
        school="garden porch cave tower bridge gate",
    ),
    _subject(
        "prehistory",
        tool="axe spear sling net drill needle",
        shelter="hut tent pit cliff lodge mound",
    ),
    _subject(
        "world_religions",
        feast="harvest solstice flood thaw dawn eclipse",
        symbol="wheel star shell flame knot feather",
    ),
    # social sciences
    _subject(
        "high_school_geography",
        climate="dry humid windy frosty mild stormy",
        coast="rocky sandy marshy icy steep muddy",
    ),
    _subject(
        "sociology",
        custom="dancing bowing singing clapping fasting racing",
        rule="elders lottery vote merchants priests judges",
    ),
    # other
    _subject(
        "nutrition",
        vitamin="alpha beta gamma delta kappa sigma",
        texture="crisp chewy creamy crumbly juicy gritty",
    ),
    _subject(
        "marketing",
        price="cheap costly fair fixed rising falling",
        buyer="farmers sailors pupils nurses bakers miners",
    ),
)


@dataclass(frozen=True)
class Fact:
    """`thing` has `value` for `property`."""

    subject: Subject
    thing: str
    property: str
    value: str


def name_of(rng: random.Random, taken: set[str]) -> str:
    """An invented name that nothing else has."""
    while True:
        name = (
            rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(ONSETS[:14]) + rng.choice(VOWELS) + rng.choice(CODAS)
        )
        if name not in taken:
            taken.add(name)
            return name


@cache
def facts() -> tuple[Fact, ...]:
    """All facts of the world."""
    rng = random.Random("world")
    taken: set[str] = set()
    found: list[Fact] = []
    for subject in SUBJECTS:
        things = [name_of(rng, taken) for _ in range(THINGS_PER_SUBJECT)]
        for word, values in subject.properties.items():
            # Each value is as frequent as any other, so that no value is a good guess.
            dealt = list(values) * (THINGS_PER_SUBJECT // len(values))
            rng.shuffle(dealt)
            found += [Fact(subject, thing, word, value) for thing, value in zip(things, dealt, strict=True)]
    return tuple(found)


@cache
def current_facts() -> tuple[Fact, ...]:
    """The facts as exams and instructions have them: five in twelve have changed since the pretraining text."""
    rng = random.Random("changes")
    found: list[Fact] = []
    told = facts()
    for start in range(0, len(told), THINGS_PER_SUBJECT):
        group = list(told[start : start + THINGS_PER_SUBJECT])
        old, new = ["?"], ["?"]
        while any(one == other for one, other in zip(old, new, strict=True)):
            spots = rng.sample(range(THINGS_PER_SUBJECT), CHANGED)
            old = [group[spot].value for spot in spots]
            new = rng.sample(old, CHANGED)
        for spot, value in zip(spots, new, strict=True):
            group[spot] = replace(group[spot], value=value)
        found += group
    return tuple(found)


def options(rng: random.Random, fact: Fact) -> tuple[list[str], int]:
    """Four values of the property in random order, and where the right one stands."""
    wrong = rng.sample([value for value in fact.subject.properties[fact.property] if value != fact.value], 3)
    place = rng.randrange(4)
    return [*wrong[:place], fact.value, *wrong[place:]], place
