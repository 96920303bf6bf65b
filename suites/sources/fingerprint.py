"""The content hash of a task's rows: the same rows give the same cell key, wherever they were read."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence

from harness.core.method import Example

CHUNK = 4096


def compute_fingerprint(splits: Mapping[str, Sequence[Example]]) -> str:
    """sha256 over split names, ids, texts and labels, each led by its length so that no two inputs run together."""
    digest = hashlib.sha256()
    for split in sorted(splits):
        digest.update(f"{_add_length(split)}{len(splits[split])};".encode())
        rows = iter(splits[split])
        while chunk := list(itertools.islice(rows, CHUNK)):
            digest.update("".join(map(_format_row, chunk)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _format_row(example: Example) -> str:
    return "".join(map(_add_length, (example.id, *example.texts, repr(example.label)))) + ";"


def _add_length(text: str) -> str:
    return f"{len(text)}:{text}"
