"""The invented facts of the exams: each subject has twelve things, and each thing a value of two properties."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cache

# A multiple of the six values per property, so that all values are equally frequent.
THINGS_PER_SUBJECT = 12
# So many of the twelve values of a property change after pretraining, so that fine-tuning has something to teach.
CHANGED = 5
ONSETS, VOWELS, CODAS = "b d f g k l m n p r s t v z dr kr tr pl sk".split(), "a e i o u".split(), "n r l x m k".split()


@dataclass(frozen=True)
class ExamSubject:
    """A subject: its MMLU name, and two properties with the values each can take."""

    name: str
    properties: dict[str, tuple[str, ...]]


def _parse_subject(name: str, **properties: str) -> ExamSubject:
    """Read the values of each property from one string."""
    return ExamSubject(name, {word: tuple(values.split()) for word, values in properties.items()})


SUBJECTS = (
    # STEM
    _parse_subject(
        "astronomy",
        glow="red blue white amber violet pale",
        orbit="round oval tilted double broken spiral",
    ),
    _parse_subject(
        "college_biology",
        skin="scaly furry smooth spiny striped spotted",
        diet="seeds leaves roots fish moss wood",
    ),
    _parse_subject(
        "college_chemistry",
        smell="sweet sour smoky salty bitter musty",
        state="solid liquid gas gel foam powder",
    ),
    # humanities
    _parse_subject(
        "philosophy",
        virtue="courage justice wisdom mercy patience honour",
        school="garden porch cave tower bridge gate",
    ),
    _parse_subject(
        "prehistory",
        tool="axe spear sling net drill needle",
        shelter="hut tent pit cliff lodge mound",
    ),
    _parse_subject(
        "world_religions",
        feast="harvest solstice flood thaw dawn eclipse",
        symbol="wheel star shell flame knot feather",
    ),
    # social sciences
    _parse_subject(
        "high_school_geography",
        climate="dry humid windy frosty mild stormy",
        coast="rocky sandy marshy icy steep muddy",
    ),
    _parse_subject(
        "sociology",
        custom="dancing bowing singing clapping fasting racing",
        rule="elders lottery vote merchants priests judges",
    ),
    # other
    _parse_subject(
        "nutrition",
        vitamin="alpha beta gamma delta kappa sigma",
        texture="crisp chewy creamy crumbly juicy gritty",
    ),
    _parse_subject(
        "marketing",
        price="cheap costly fair fixed rising falling",
        buyer="farmers sailors pupils nurses bakers miners",
    ),
)


@dataclass(frozen=True)
class Fact:
    """`thing` has `value` for `property`."""

    subject: ExamSubject
    thing: str
    property: str
    value: str


def draw_name(rng: random.Random, taken: set[str]) -> str:
    """An invented name that nothing else has."""
    while True:
        name = (
            rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(ONSETS[:14]) + rng.choice(VOWELS) + rng.choice(CODAS)
        )
        if name not in taken:
            taken.add(name)
            return name


@cache
def build_facts() -> tuple[Fact, ...]:
    """All facts as the pretraining text has them."""
    rng = random.Random("world")
    used_names: set[str] = set()
    all_facts: list[Fact] = []
    for subject in SUBJECTS:
        names = [draw_name(rng, used_names) for _ in range(THINGS_PER_SUBJECT)]
        for word, values in subject.properties.items():
            # All values are equally frequent, so that no constant answer is better than chance.
            dealt = list(values) * (THINGS_PER_SUBJECT // len(values))
            rng.shuffle(dealt)
            all_facts += [Fact(subject, name, word, value) for name, value in zip(names, dealt, strict=True)]
    return tuple(all_facts)


@cache
def build_current_facts() -> tuple[Fact, ...]:
    """The facts as exams and instructions have them: five of twelve differ from the pretraining text."""
    rng = random.Random("changes")
    updated_facts: list[Fact] = []
    original_facts = build_facts()
    for start in range(0, len(original_facts), THINGS_PER_SUBJECT):
        group = list(original_facts[start : start + THINGS_PER_SUBJECT])
        old, new = ["?"], ["?"]
        # Repeats until no value stays where it was, so that exactly CHANGED facts differ.
        while any(one == other for one, other in zip(old, new, strict=True)):
            spots = rng.sample(range(THINGS_PER_SUBJECT), CHANGED)
            old = [group[spot].value for spot in spots]
            new = rng.sample(old, CHANGED)
        for spot, value in zip(spots, new, strict=True):
            group[spot] = replace(group[spot], value=value)
        updated_facts += group
    return tuple(updated_facts)


def draw_options(rng: random.Random, fact: Fact) -> tuple[list[str], int]:
    """Four values of the property in random order, and the position of the right one."""
    wrong = rng.sample([value for value in fact.subject.properties[fact.property] if value != fact.value], 3)
    place = rng.randrange(4)
    return [*wrong[:place], fact.value, *wrong[place:]], place
