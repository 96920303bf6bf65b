"""The content hash of a task's rows: equal rows give equal cell keys, whatever source they come from."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence

from harness.core.method import Example

CHUNK = 4096
"""Rows that are joined before they are hashed: fewer and larger updates are faster."""


def compute_fingerprint(splits: Mapping[str, Sequence[Example]]) -> str:
    """sha256 (hex) of split names, ids, texts and labels."""
    # Each part follows its length, so that ("ab", "c") and ("a", "bc") differ.
    digest = hashlib.sha256()
    for split in sorted(splits):
        digest.update(f"{_add_length(split)}{len(splits[split])};".encode())
        rows = iter(splits[split])
        while chunk := list(itertools.islice(rows, CHUNK)):
            # A text may have half of a surrogate pair, which plain UTF-8 refuses.
            digest.update("".join(map(_format_row, chunk)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _format_row(example: Example) -> str:
    return "".join(map(_add_length, (example.id, *example.texts, repr(example.label)))) + ";"


def _add_length(text: str) -> str:
    return f"{len(text)}:{text}"
