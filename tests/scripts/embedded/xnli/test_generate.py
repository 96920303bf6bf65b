"""XNLI-shaped data: made again byte for byte, parallel over languages, in the XTREME layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts.embedded.made import SHIPPED, contents, made, size_of

FOLDER = SHIPPED / "data" / "xnli"
CODES = "ar bg de el en es fr hi ru sw th tr ur vi zh".split()


def rows(name: str) -> list[tuple[str, ...]]:
    return [tuple(line.split("\t")) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def test_the_script_makes_the_shipped_bytes(tmp_path: Path) -> None:
    shipped = contents(FOLDER)
    assert set(shipped) == {"train-en.tsv", *(f"dev-{code}.tsv" for code in CODES)}
    assert size_of(FOLDER) <= 400_000
    assert made("xnli", tmp_path / "0", seed=0) == shipped
    assert all(data != shipped[name] for name, data in made("xnli", tmp_path / "1", seed=1).items())


def test_no_dev_row_is_a_train_row() -> None:
    train = {row[:2] for row in rows("train-en.tsv")}
    assert len(train) == 640
    assert not train & {row[:2] for row in rows("dev-en.tsv")}


@pytest.mark.parametrize("code", CODES)
def test_dev_files_are_translations_of_the_english_one(code: str) -> None:
    """Labels agree line by line; rows that are equal in English are equal, others differ."""
    english, other = rows("dev-en.tsv"), rows(f"dev-{code}.tsv")
    assert [row[2] for row in other] == [row[2] for row in english]
    assert {len(row) for row in other} == {3}
    pairs = list(zip(english, other, strict=True))
    assert len(dict(pairs)) == len({row for _, row in pairs}) == len(set(english))


def test_languages_are_near_and_far() -> None:
    """The share of words that are English words falls from German over Russian to Thai."""
    known = {word for row in rows("train-en.tsv") for text in row[:2] for word in text.split()}

    def shared(code: str) -> float:
        words = {word for row in rows(f"dev-{code}.tsv") for text in row[:2] for word in text.split()}
        return len(words & known) / len(words)

    assert shared("en") > 0.95
    assert 0.4 < shared("de") < 0.7
    assert 0.2 < shared("ru") < 0.4
    assert shared("th") < 0.15
