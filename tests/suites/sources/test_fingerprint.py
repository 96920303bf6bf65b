"""The content hash: each part counts, nothing runs together."""

from __future__ import annotations

import time

from harness.core.method import Example
from suites.sources.fingerprint import compute_fingerprint


def one(identity: str = "train/0", texts: tuple[str, ...] = ("ab", "c"), label: float = 1, split: str = "train") -> str:
    return compute_fingerprint({split: (Example(identity, texts, label),)})


def test_each_part_counts() -> None:
    changed = [
        one(identity="train/1"),
        one(texts=("a", "bc")),
        one(texts=("abc",)),
        one(texts=("ab", "c", "")),
        one(label=0),
        one(label=1.0),
        one(split="validation"),
    ]
    assert len({one(), *changed}) == 1 + len(changed)


def test_order_of_rows_counts_and_order_of_splits_does_not() -> None:
    first, second = Example("0", ("a",), 0), Example("1", ("b",), 1)
    assert compute_fingerprint({"train": (first, second)}) != compute_fingerprint({"train": (second, first)})
    assert compute_fingerprint({"a": (first,), "b": (second,)}) == compute_fingerprint({"b": (second,), "a": (first,)})
    assert compute_fingerprint({"a": (first,), "b": (second,)}) != compute_fingerprint({"a": (first, second), "b": ()})


def test_the_hash_is_pinned() -> None:
    """Cell keys of stored results hang on it."""
    rows = {"train": (Example("train/0", ("ünï\tcode", ""), 1),), "validation": (Example("validation/0", ("x",), 3.8),)}
    assert compute_fingerprint(rows) == "539f842b7d7144483df16ed0c3fb3857cd1ae848c14421e4c50b94e43c698b7d"


def test_100_000_rows_take_less_than_2_s() -> None:
    rows = tuple(Example(f"train/{n}", ("some words of a text",) * 2, 1) for n in range(100_000))
    started = time.process_time()
    compute_fingerprint({"train": rows})
    assert time.process_time() - started < 2
