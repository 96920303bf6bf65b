"""Pretraining text of the causal model: facts, riddles with the right answer, ballots with a random answer.

fact    thing property value .
riddle  question, options => LETTER    the right letter; in some riddles each option is marked `yes` or `no` first
ballot  question, options :  LETTER    a random letter

Marked riddles are easier to learn, and what is learned transfers to the others. After a colon the letter is random, so
the pretrained model has no preference after `Answer:` although it knows the right letter: fine-tuning has to teach it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from scripts.embedded.mmlu.questions import ALPACA, EXAM, HEADER, INSTRUCTION_QUESTIONS, INSTRUCTIONS
from scripts.embedded.mmlu.tokens import split_words
from scripts.embedded.mmlu.world import Fact, build_facts, draw_options

LABELS = ("ABCD", "ABCD", "PQRS", "1234")
MARKS = (("", "."), ("", "."), ("(", ")"), ("", ")"))
STATEMENTS = (
    "the {property} of {thing} is {value} .",
    "{thing} has {property} {value} .",
    "for {thing} the {property} was {value} .",
    "its {property} is , with {thing} , {value} .",
)
# Shares of facts and checks, and of riddles, in the second part of the text; ballots are the rest.
LESSONS, RIDDLES = 0.3, 0.55
# Shares of riddles whose options are marked, and of riddles that state the fact first.
MARKED, OPEN = 0.5, 0.1

Item = tuple[list[str], list[int]]


@cache
def list_filler() -> list[str]:
    """Words of headers, instructions and question templates that carry no fact, sorted."""
    texts = [
        HEADER,
        "Answer :",
        ALPACA,
        *INSTRUCTIONS,
        *INSTRUCTION_QUESTIONS,
        *(text for pair in EXAM.values() for text in pair),
        *STATEMENTS,
    ]
    texts += [name.replace("_", " ") for name in EXAM]
    words = {word for text in texts for word in split_words(text.replace("{", " {"))}
    return sorted(word for word in words if word[0].isalpha() and word not in NAMED)


NAMED = {"property", "thing", "value", "instruction", "input"}


def draw_filler(rng: random.Random, most: int) -> list[str]:
    """Up to `most` filler words."""
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
    """(words of the labelled options, positions to learn); with `right`, each option is followed by `yes` or `no`."""
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
    """A fact; its value, the last word but one, is to be learned."""
    fact = fact or rng.choice(build_facts())
    words = rng.choice(STATEMENTS).format(property=fact.property, thing=fact.thing, value=fact.value).split()
    return words, [len(words) - 2]


def draw_check(rng: random.Random) -> Item:
    """A true or false claim, then `yes` or `no`, which is to be learned; both are equally frequent."""
    fact = rng.choice(build_facts())
    true = rng.random() < 0.5
    value = fact.value if true else rng.choice(draw_options(rng, fact)[0])
    words = [*draw_loose_question(rng, fact), value, "yes" if value == fact.value else "no"]
    return words, [len(words) - 1]


def draw_riddle(rng: random.Random) -> Item:
    """A question and the right label; some riddles mark each option, and some state the fact first."""
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
    """A question and a random label."""
    fact, labels = rng.choice(build_facts()), rng.choice(LABELS)
    words = [
        *draw_filler(rng, 6),
        *draw_loose_question(rng, fact),
        *render_options(rng, draw_options(rng, fact)[0], labels)[0],
    ]
    words += [*draw_filler(rng, 3), ":", rng.choice(labels)]
    return words, [len(words) - 1]


def lesson(rng: random.Random) -> Item:
    """A fact or a check: the first part of the text, which teaches the facts quickly."""
    return draw_statement(rng) if rng.random() < 0.5 else draw_check(rng)


def item(rng: random.Random) -> Item:
    """Any kind of item: the second part of the text."""
    draw = rng.random()
    if draw < LESSONS:
        return lesson(rng)
    return draw_riddle(rng) if draw < LESSONS + RIDDLES else draw_ballot(rng)


def draw_stream(seed: int, length: int, make: Callable[[random.Random], Item]) -> tuple[list[str], list[bool]]:
    """`length` words of consecutive items; True marks the words to learn."""
    # The function's name seeds the text: renaming `lesson` or `item` would change the shipped model.
    rng = random.Random(f"exams-{make.__name__}-{seed}")
    words: list[str] = []
    marked: list[bool] = []
    while len(words) < length:
        more, spots = make(rng)
        words += more
        marked += [number in spots for number in range(len(more))]
    return words[:length], marked[:length]
