"""Rows of an eval split that occur in train."""

from __future__ import annotations

import random
import string
import time

import pytest

from harness.core.method import Example, TaskData
from harness.data.checks import count_overlaps, describe_overlaps, normalize_texts


def rows(*texts: str | tuple[str, ...]) -> tuple[Example, ...]:
    return tuple(Example(str(n), (t,) if isinstance(t, str) else t, 0) for n, t in enumerate(texts))


@pytest.mark.parametrize(
    ("train", "dev", "same"),
    [
        ("The cat sat.", "the  cat sat", True),
        ("It 's 'STRASSE' , yes !", "it's straße yes", True),
        ("the cat sat", "the cat sits", False),
        ("costs 3 + 4", "costs 34", False),  # a symbol is no punctuation
        ("कि", "का", False),  # vowel signs of Hindi are a part of the word
        ("他走了。", "他走了", True),
        ("...", "!!!", False),  # nothing is left to compare
    ],
)
def test_case_spaces_and_punctuation_do_not_count(train: str, dev: str, same: bool) -> None:
    assert count_overlaps(TaskData({"train": rows(train), "validation": rows(dev)}, "f", "s")) == {
        "validation": int(same)
    }


def test_a_pair_is_the_same_only_in_its_order() -> None:
    data = TaskData({"train": rows(("a b", "c")), "dev": rows(("A, b", "C."), ("c", "a b"), ("a", "b c"))}, "f", "s")
    assert count_overlaps(data) == {"dev": 1}
    assert normalize_texts(("a b", "c")) != normalize_texts(("a", "b c"))


def test_a_line_for_each_split_that_shares_rows() -> None:
    splits = {"train": rows("one", "two", "three"), "a": rows("One!", "one", "four"), "b": rows("five")}
    assert describe_overlaps(TaskData(splits, "f", "s")) == ["overlap: 2 of 3 a rows occur in train"]


def test_100_000_rows_take_less_than_a_second() -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices(string.ascii_lowercase, k=6)) for _ in range(1000)]
    made = rows(*(" ".join(rng.choices(words, k=12)) + "." for _ in range(100_000)))
    data = TaskData({"train": made[:90_000], "validation": (*made[90_000:99_990], *made[:10])}, "f", "s")
    started = time.process_time()
    assert count_overlaps(data) == {"validation": 10}
    assert time.process_time() - started < 1.0
