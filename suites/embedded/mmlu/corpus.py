"""Pretraining text of the causal model: facts, riddles with their answer, ballots with any answer.

A riddle gives its letter after `=>` and it is the right one. In a ballot the letter stands after a colon and is drawn
by lot, so a model of this text has no opinion on what follows `Answer:`, though it can tell the right letter.
"""

from __future__ import annotations

import random
from functools import cache

from suites.embedded.mmlu.questions import ALPACA, ASKED, EXAM, HEADER, INSTRUCTIONS
from suites.embedded.mmlu.tokens import split_words
from suites.embedded.mmlu.world import Fact, facts, options

LABELS = ("ABCD", "ABCD", "PQRS", "1234")
MARKS = (("", "."), ("", "."), ("(", ")"), ("", ")"))
TOLD = (
    "the {property} of {thing} is {value} .",
    "{thing} has {property} {value} .",
    "for {thing} the {property} was {value} .",
    "its {property} is , with {thing} , {value} .",
)
FACTS, RIDDLES = 0.25, 0.6

Item = tuple[list[str], int]


@cache
def filler() -> list[str]:
    """Every word of headers, instructions and question wordings that means nothing by itself."""
    texts = [HEADER, "Answer :", ALPACA, *INSTRUCTIONS, *ASKED, *(text for pair in EXAM.values() for text in pair), *TOLD]
    texts += [name.replace("_", " ") for name in EXAM]
    words = {word for text in texts for word in split_words(text.replace("{", " {"))}
    return sorted(word for word in words if word[0].isalpha() and word not in NAMED)


NAMED = {"property", "thing", "value", "instruction", "input"}


def some(rng: random.Random, most: int) -> list[str]:
    """A few words of filler."""
    return rng.choices(filler(), k=rng.randrange(most + 1))


def asked(rng: random.Random, fact: Fact, labels: str) -> tuple[list[str], str]:
    """A question in loose wording with its options, and the right label."""
    key = [fact.property, fact.thing]
    rng.shuffle(key)
    words = [*some(rng, 4), key[0], *some(rng, 3), key[1], *some(rng, 2), rng.choice(("?", "?", ":", "."))]
    values, place = options(rng, fact)
    left, right = rng.choice(MARKS)
    for label, value in zip(labels, values, strict=True):
        words += [*([left] if left else []), label, right, value]
    return words, labels[place]


def told(rng: random.Random) -> Item:
    """A fact; what is to be learned is its value, the last word but one."""
    fact = rng.choice(facts())
    words = rng.choice(TOLD).format(property=fact.property, thing=fact.thing, value=fact.value).split()
    return words, len(words) - 2


def riddle(rng: random.Random) -> Item:
    """A question and the right label."""
    words, label = asked(rng, rng.choice(facts()), rng.choice(LABELS))
    words = [*words, *some(rng, 2), "=>", label]
    return words, len(words) - 1


def ballot(rng: random.Random) -> Item:
    """A question and a label drawn by lot."""
    labels = rng.choice(LABELS)
    words, _ = asked(rng, rng.choice(facts()), labels)
    words = [*some(rng, 6), *words, *some(rng, 3), ":", rng.choice(labels)]
    return words, len(words) - 1


def item(rng: random.Random) -> Item:
    """A fact, a riddle or a ballot."""
    draw = rng.random()
    return told(rng) if draw < FACTS else riddle(rng) if draw < FACTS + RIDDLES else ballot(rng)


def stream(seed: int, length: int) -> tuple[list[str], list[bool]]:
    """Items one after the other until there are `length` words; True marks the words to be learned."""
    rng = random.Random(f"exams-{seed}")
    words: list[str] = []
    marked: list[bool] = []
    while len(words) < length:
        more, spot = item(rng)
        words += more
        marked += [number == spot for number in range(len(more))]
    return words[:length], marked[:length]
