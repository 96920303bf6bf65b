"""The shipped tokenizer knows each word of the shipped data, and its ids are the vocabulary's."""

from __future__ import annotations

import json
from pathlib import Path

import suites.embedded
from harness.core.method import SourceRequest
from scripts.embedded.vocabulary import SPECIAL, list_lemma_groups
from suites.glue import Glue

TOKENIZER = Path(suites.embedded.__file__).parent / "models" / "encoder" / "tokenizer.json"


def test_no_word_of_the_data_is_unknown() -> None:
    known: dict[str, int] = json.loads(TOKENIZER.read_text())["model"]["vocab"]
    loaded = [Glue().load(task, SourceRequest("embedded")) for task in Glue.tasks]
    texts = [text for data in loaded for rows in data.splits.values() for row in rows for text in row.texts]
    assert {word for text in texts for word in text.split()} <= set(known)
    assert {word for groups in list_lemma_groups() for group in groups for word in group} <= set(known)
    assert sorted(known, key=known.__getitem__) == [*SPECIAL, *sorted(set(known) - set(SPECIAL))]
