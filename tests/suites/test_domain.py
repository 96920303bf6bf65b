"""The generated domain shift: the same reviews, more and more words of another meaning."""

from __future__ import annotations

import itertools
import json

import pytest

from harness.core.errors import UserError
from harness.core.method import SourceRequest, TaskData
from harness.core.presets import get_preset
from harness.models.source import resolve
from suites.domain import DISTANCES, GROUPS, Domain, build_jargon, list_free_words


def loaded(distance: int) -> TaskData:
    return Domain().load(f"d{distance:03}", SourceRequest("embedded"))


def test_labels_and_lengths_are_the_same_at_each_distance() -> None:
    near = loaded(0)
    for distance in DISTANCES[1:]:
        far = loaded(distance)
        for split, rows in near.splits.items():
            assert [row.label for row in rows] == [row.label for row in far.splits[split]]
            lengths = [len(row.texts[0].split()) for row in rows]
            assert lengths == [len(row.texts[0].split()) for row in far.splits[split]]


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_distance_is_the_share_of_word_types_in_each_group(distance: int) -> None:
    words = build_jargon(distance)
    for group in GROUPS:
        assert sum(word in words for word in group) == round(len(group) * distance / 100)
    plain, far = loaded(0), loaded(distance)
    pairs = {
        (a, b)
        for one, other in zip(plain.splits["train"], far.splits["train"], strict=True)
        for a, b in zip(one.texts[0].split(), other.texts[0].split(), strict=True)
    }
    known = {word for group in GROUPS for word in group}
    assert {a for a, _ in pairs} <= known
    assert {(a, b) for a, b in pairs if a != b} <= set(words.items())
    assert len({b for _, b in pairs}) == len(pairs) == len({a for a, _ in pairs})  # one word, one meaning


def test_a_nearer_distance_s_words_stay_at_a_farther_one() -> None:
    for near, far in itertools.pairwise(DISTANCES):
        assert build_jargon(near).items() < build_jargon(far).items()


def test_every_word_is_one_of_the_embedded_encoder() -> None:
    path = resolve(get_preset("quick"), "domain", None).path
    vocabulary = json.loads((path / "tokenizer.json").read_text())["model"]["vocab"]
    assert set(list_free_words()) <= set(vocabulary)
    assert {w for r in loaded(100).splits["validation"] for w in r.texts[0].split()} <= set(vocabulary)


def test_files_are_refused() -> None:
    from pathlib import Path

    with pytest.raises(UserError, match="generated"):
        Domain().load("d025", SourceRequest("embedded", None, {("d025", "train"): (Path("x.tsv"),)}))
