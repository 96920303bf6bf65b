"""Specialized text at five known distances from the text that the embedded encoder was trained on.

The reviews are generated when they are loaded, the same ones at each distance. At distance d, d percent of the word
types are replaced, each by one fixed other word of the encoder's vocabulary. The label thus depends on words with a new
meaning.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness.core.errors import UserError
from harness.core.method import SUITES, Average, Example, SourceRequest, Suite, SuitePreset, Task, TaskData
from harness.core.presets import MINILM
from suites.embedded import reviews
from suites.embedded.rows import DEV_ROWS, TRAIN_ROWS, Row, draw_distinct_rows, draw_sst2
from suites.embedded.words import BLAME, DISLIKED, GENRES, LIKED, PRAISE, THINGS, TRAITS, VERBS
from suites.sources.fingerprint import compute_fingerprint

DISTANCES = (0, 25, 50, 75, 100)
"""Percent of the word types that have a new meaning."""
SEED = 0
GROUPS: Sequence[Sequence[str]] = (
    PRAISE,
    BLAME,
    LIKED,
    DISLIKED,
    [word for pair in THINGS for word in pair],
    reviews.HEDGES,
    reviews.FEEL,
    ("the", "and", "not", "but", "nobody", "we", "i"),
)
"""All words of the reviews. Each group is replaced at one rate, so that words of the label move as far as others."""


def list_free_words() -> list[str]:
    """Words that the encoder knows and no review has: nouns, verbs, traits and places of the scenes, sorted."""
    pairs = [*VERBS, *(trait.words for trait in TRAITS)]
    for genre in GENRES:
        pairs += [noun.words for noun in (*genre.actors, *genre.objects)]
        pairs += genre.places
    words, used = set(itertools.chain.from_iterable(pairs)), set(itertools.chain.from_iterable(GROUPS))
    # Sorted, so that the draw below is the same in each process: hashes of strings are salted.
    return sorted(words - used)


def build_jargon(distance: int) -> dict[str, str]:
    """Word -> its replacement at a distance. The replacements of a shorter distance are among those of a longer one."""
    rng = random.Random(f"jargon-{SEED}")
    free = list_free_words()
    rng.shuffle(free)
    meanings: dict[str, str] = {}
    for group in GROUPS:
        words = rng.sample(list(group), len(group))
        # Drawn for all words at every distance, so that a word's replacement is the same at each distance.
        written = {word: free.pop() for word in words}
        meanings |= {word: written[word] for word in words[: round(len(words) * distance / 100)]}
    return meanings


@SUITES.register("domain")
class Domain(Suite):
    """A domain shift of known size: in task dNNN, NNN percent of the word types have a new meaning."""

    name = "domain"
    summary = "generated reviews in which a share of the words has a new meaning: none in d000, all in d100"
    presets: ClassVar[Mapping[str, SuitePreset]] = {
        "quick": SuitePreset("embedded:encoder"),
        "small": SuitePreset(MINILM),
        "paper": SuitePreset("FacebookAI/roberta-base"),
    }
    tasks = {  # noqa: RUF012 - read only
        f"d{d:03}": Task(f"d{d:03}", ("negative", "positive"), ("validation",), ("accuracy",)) for d in DISTANCES
    }
    averages = (Average("domain", {name: ("accuracy",) for name in tasks}),)

    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Generated rows of one distance. Raises UserError if the user gave files for it."""
        definition = self.get_task(task)
        if any(name in (task, self.name) for name, _ in request.files):
            raise UserError(f"--data-file {task}: the rows of suite domain are generated; use --suite table for a file")
        rng = random.Random(f"domain-{SEED}")
        # Shared by both splits: no validation row also occurs in train.
        seen_rows: set[Row] = set()
        words = build_jargon(int(task[1:]))
        splits = {}
        for split, count in (("train", TRAIN_ROWS), (definition.eval_splits[0], DEV_ROWS)):
            rows = draw_distinct_rows(draw_sst2, rng, count, seen_rows)
            splits[split] = tuple(_make_example(f"{split}/{n}", row, words) for n, row in enumerate(rows))
        return TaskData(splits, compute_fingerprint(splits), "embedded")


def _make_example(name: str, row: Row, words: Mapping[str, str]) -> Example:
    text, label = row
    return Example(name, (" ".join(words.get(word, word) for word in text.split()),), int(label))
