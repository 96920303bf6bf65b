"""Pretraining text of the causal model: facts, riddles with their answer, ballots with any answer.

A riddle gives its letter after `=>` and it is the right one; in some riddles each option is first called right (`yes`)
or wrong (`no`), which is easier to learn and carries over to the others. In a ballot the letter stands after a colon
and is drawn by lot, so a model of this text has no opinion on what follows `Answer:`, though it can tell the right one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from scripts.embedded.mmlu.questions import ALPACA, ASKED, EXAM, HEADER, INSTRUCTIONS
from scripts.embedded.mmlu.tokens import split_words
from scripts.embedded.mmlu.world import Fact, build_facts, draw_options

LABELS = ("ABCD", "ABCD", "PQRS", "1234")
MARKS = (("", "."), ("", "."), ("(", ")"), ("", ")"))
TOLD = (
    "the {property} of {thing} is {value} .",
    "{thing} has {property} {value} .",
    "for {thing} the {property} was {value} .",
    "its {property} is , with {thing} , {value} .",
)
LESSONS, RIDDLES = 0.3, 0.55
MARKED, OPEN = 0.5, 0.1

Item = tuple[list[str], list[int]]


@cache
def list_filler() -> list[str]:
    """Every word of headers, instructions and question wordings that means nothing by itself."""
    texts = [
        HEADER,
        "Answer :",
        ALPACA,
        *INSTRUCTIONS,
        *ASKED,
        *(text for pair in EXAM.values() for text in pair),
        *TOLD,
    ]
    texts += [name.replace("_", " ") for name in EXAM]
    words = {word for text in texts for word in split_words(text.replace("{", " {"))}
    return sorted(word for word in words if word[0].isalpha() and word not in NAMED)


NAMED = {"property", "thing", "value", "instruction", "input"}


def draw_filler(rng: random.Random, most: int) -> list[str]:
    """A few words of filler."""
    return rng.choices(list_filler(), k=rng.randrange(most + 1))


def draw_loose_question(rng: random.Random, fact: Fact) -> list[str]:
    """The two key words of a fact, in either order, with or without filler around them."""
    key = [fact.property, fact.thing]
    rng.shuffle(key)
    most = rng.choice((0, 4))
    return [
        *draw_filler(rng, most),
        key[0],
        *draw_filler(rng, most),
        key[1],
        *draw_filler(rng, most // 2),
        rng.choice(("?", "?", ":", ".")),
    ]


def render_options(rng: random.Random, values: list[str], labels: str, right: int | None = None) -> Item:
    """The options with their labels; where `right` is given each is followed by `yes` or `no`, to be learned."""
    left, mark = rng.choice(MARKS)
    words: list[str] = []
    spots: list[int] = []
    for number, (label, value) in enumerate(zip(labels, values, strict=True)):
        words += [*([left] if left else []), label, mark, value]
        if right is not None:
            spots.append(len(words))
            words.append("yes" if number == right else "no")
    return words, spots


def draw_statement(rng: random.Random, fact: Fact | None = None) -> Item:
    """A fact; what is to be learned is its value, the last word but one."""
    fact = fact or rng.choice(build_facts())
    words = rng.choice(TOLD).format(property=fact.property, thing=fact.thing, value=fact.value).split()
    return words, [len(words) - 2]


def draw_check(rng: random.Random) -> Item:
    """A fact or a false claim, then `yes` or `no`; both are as frequent, and the word is to be learned."""
    fact = rng.choice(build_facts())
    true = rng.random() < 0.5
    value = fact.value if true else rng.choice(draw_options(rng, fact)[0])
    words = [*draw_loose_question(rng, fact), value, "yes" if value == fact.value else "no"]
    return words, [len(words) - 1]


def draw_riddle(rng: random.Random) -> Item:
    """A question and the right label; some are marked option by option, before some the fact is told."""
    fact, labels = rng.choice(build_facts()), rng.choice(LABELS)
    values, place = draw_options(rng, fact)
    draw = rng.random()
    words = draw_statement(rng, fact)[0] if draw > 1 - OPEN else []
    words += draw_loose_question(rng, fact)
    shown, spots = render_options(rng, values, labels, place if draw < MARKED else None)
    spots = [len(words) + spot for spot in spots]
    words += [*shown, *draw_filler(rng, rng.choice((0, 2))), "=>", labels[place]]
    return words, [*spots, len(words) - 1]


def draw_ballot(rng: random.Random) -> Item:
    """A question and a label drawn by lot."""
    fact, labels = rng.choice(build_facts()), rng.choice(LABELS)
    words = [
        *draw_filler(rng, 6),
        *draw_loose_question(rng, fact),
        *render_options(rng, draw_options(rng, fact)[0], labels)[0],
    ]
    words += [*draw_filler(rng, 3), ":", rng.choice(labels)]
    return words, [len(words) - 1]


def lesson(rng: random.Random) -> Item:
    """A fact or a check: the first part of the text, from which the facts are learned fast."""
    return draw_statement(rng) if rng.random() < 0.5 else draw_check(rng)


def item(rng: random.Random) -> Item:
    """Anything: the second part of the text."""
    draw = rng.random()
    if draw < LESSONS:
        return lesson(rng)
    return draw_riddle(rng) if draw < LESSONS + RIDDLES else draw_ballot(rng)


def draw_stream(seed: int, length: int, make: Callable[[random.Random], Item]) -> tuple[list[str], list[bool]]:
    """Items one after the other until there are `length` words; True marks the words to be learned."""
    rng = random.Random(f"exams-{make.__name__}-{seed}")
    words: list[str] = []
    marked: list[bool] = []
    while len(words) < length:
        more, spots = make(rng)
        words += more
        marked += [number in spots for number in range(len(more))]
    return words[:length], marked[:length]
