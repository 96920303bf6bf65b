"""Pretraining text of the translation model: it sees no pair of full sentences in two languages.

What it sees: masked sentences to restore, sentences to shorten to a telegram in the other language, and telegrams to
write out in their own language. Translating in full is what fine-tuning adds.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from suites.embedded.wmt16.clauses import Statement, statement
from suites.embedded.wmt16.wording import worded

Example = tuple[str, str]
PREFIX = {"en": "translate English to Romanian: ", "ro": "translate Romanian to English: "}
OTHER = {"en": "ro", "ro": "en"}
MASKED = 0.3


def masked(rng: random.Random, said: Statement, code: str) -> Example:
    """A sentence with words masked, and the sentence."""
    text = worded(said, code)
    words = ["<mask>" if rng.random() < MASKED else word for word in text.removesuffix(".").split()]
    return " ".join(words) + ".", text


def shortened(rng: random.Random, said: Statement, code: str) -> Example:
    """A sentence or telegram, and the telegram in the other language; half with the task prefix."""
    prefix = PREFIX[code] if rng.random() < 0.5 else ""
    return prefix + worded(said, code, brief=rng.random() < 0.3), worded(said, OTHER[code], brief=True)


def written_out(rng: random.Random, said: Statement, code: str) -> Example:
    """A telegram, and the sentence in the same language."""
    return worded(said, code, brief=True), worded(said, code)


Maker = Callable[[random.Random, Statement, str], Example]
KINDS: tuple[tuple[Maker, float], ...] = ((masked, 0.25), (shortened, 0.5), (written_out, 0.25))


def examples(seed: int, count: int) -> list[Example]:
    """Source and target texts."""
    rng = random.Random(f"translation-{seed}")
    chosen = rng.choices([make for make, _ in KINDS], [weight for _, weight in KINDS], k=count)
    return [make(rng, statement(rng), rng.choice(("en", "ro"))) for make in chosen]
