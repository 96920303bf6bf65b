"""Rows of an eval split whose texts also occur in train: counted, and told in the record and the report."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from harness.core.method import Example, TaskData


class _Ignored(dict[int, "int | None"]):
    """For str.translate: drops spaces, control characters, punctuation and accents that stand alone."""

    def __missing__(self, point: int) -> int | None:
        kind = unicodedata.category(chr(point))
        self[point] = replacement = None if kind[0] in "PZC" or kind == "Sk" else point
        return replacement


_IGNORED = _Ignored()


def normalize_texts(texts: Iterable[str]) -> str:
    """The texts without case, spaces and punctuation, one a line; letters of every script stay."""
    return "\n".join([text.casefold().translate(_IGNORED) for text in texts])


def count_overlaps(data: TaskData) -> dict[str, int]:
    """For each eval split how many of its rows have the texts of a train row; rows of punctuation only count not."""
    dev = {name: [normalize_texts(row.texts) for row in rows] for name, rows in data.splits.items() if name != "train"}
    wanted = {text for texts in dev.values() for text in texts if text.strip("\n")}
    train: Iterable[Example] = data.splits.get("train", ())
    shared_texts = {text for row in train if (text := normalize_texts(row.texts)) in wanted}
    return {name: sum(text in shared_texts for text in texts) for name, texts in dev.items()}


def describe_overlaps(data: TaskData) -> list[str]:
    """A line for each eval split that shares rows with train."""
    counts = count_overlaps(data)
    return [
        f"overlap: {count} of {len(data.splits[name])} {name} rows occur in train"
        for name, count in counts.items()
        if count
    ]
