"""Pretraining text of the translation model, which has no pair of full sentences in two languages.

masked sentence -> sentence                               denoising, as in T5 and mBART
sentence or telegram -> telegram in the other language    vocabulary across languages
telegram -> sentence in the same language                 grammar

A telegram has bare stems in English order. Full translation combines these, and fine-tuning has to teach it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from scripts.embedded.wmt16.clauses import Statement, draw_statement
from scripts.embedded.wmt16.wording import render_statement

TextPair = tuple[str, str]
PREFIX = {"en": "translate English to Romanian: ", "ro": "translate Romanian to English: "}
OTHER = {"en": "ro", "ro": "en"}
MASKED = 0.3


def make_masked_pair(rng: random.Random, said: Statement, code: str) -> TextPair:
    """A sentence with masked words, and the sentence."""
    text = render_statement(said, code)
    words = ["<mask>" if rng.random() < MASKED else word for word in text.removesuffix(".").split()]
    return " ".join(words) + ".", text


def make_telegram_pair(rng: random.Random, said: Statement, code: str) -> TextPair:
    """A sentence or telegram, and the telegram in the other language; half with the task prefix."""
    # T5's prefix in half of the examples, so that the model works with and without it.
    prefix = PREFIX[code] if rng.random() < 0.5 else ""
    return prefix + render_statement(said, code, brief=rng.random() < 0.3), render_statement(
        said, OTHER[code], brief=True
    )


def make_expansion_pair(rng: random.Random, said: Statement, code: str) -> TextPair:
    """A telegram, and the sentence in the same language."""
    return render_statement(said, code, brief=True), render_statement(said, code)


Maker = Callable[[random.Random, Statement, str], TextPair]
KINDS: tuple[tuple[Maker, float], ...] = (
    (make_masked_pair, 0.25),
    (make_telegram_pair, 0.5),
    (make_expansion_pair, 0.25),
)


def draw_examples(seed: int, count: int) -> list[TextPair]:
    """Source and target texts."""
    rng = random.Random(f"translation-{seed}")
    chosen = rng.choices([make for make, _ in KINDS], [weight for _, weight in KINDS], k=count)
    return [make(rng, draw_statement(rng), rng.choice(("en", "ro"))) for make in chosen]
