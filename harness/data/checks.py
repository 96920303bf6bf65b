"""Count rows of eval splits whose texts also occur in train; records and reports show the counts."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from harness.core.method import Example, TaskData


class _Ignored(dict[int, "int | None"]):
    """A table for str.translate that removes spaces, control characters, punctuation and standalone accents.

    It computes an entry at the first look-up, because a table of all of Unicode would be large.
    """

    def __missing__(self, point: int) -> int | None:
        kind = unicodedata.category(chr(point))
        self[point] = replacement = None if kind[0] in "PZC" or kind == "Sk" else point
        return replacement


_IGNORED = _Ignored()


def normalize_texts(texts: Iterable[str]) -> str:
    """The texts without case, spaces and punctuation, one per line; letters of every script remain."""
    return "\n".join([text.casefold().translate(_IGNORED) for text in texts])


def count_overlaps(data: TaskData) -> dict[str, int]:
    """Per eval split, the number of rows whose texts equal those of a train row; rows without letters do not count."""
    eval_texts: dict[str, list[str]] = {}
    # A row of punctuation alone normalizes to nothing and would match every other such row.
    wanted: set[str] = set()
    for name, rows in data.splits.items():
        if name != "train":
            eval_texts[name] = [normalize_texts(row.texts) for row in rows]
            wanted.update(text for text in eval_texts[name] if text.strip("\n"))
    train: Iterable[Example] = data.splits.get("train", ())
    # Only shared texts are kept, because train may have millions of rows.
    shared_texts = {text for row in train if (text := normalize_texts(row.texts)) in wanted}
    return {name: sum(map(shared_texts.__contains__, texts)) for name, texts in eval_texts.items()}


def describe_overlaps(data: TaskData) -> list[str]:
    """A note for each eval split that shares rows with train."""
    counts = count_overlaps(data)
    return [
        f"overlap: {count} of {len(data.splits[name])} {name} rows occur in train"
        for name, count in counts.items()
        if count
    ]
